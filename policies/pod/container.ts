import { bool, check, list, map, object, oneOf, port, required, str } from "../schema.ts";
import { envFrom, envVar } from "./env.ts";
import { also, anything, idle, isPortName, label, NOT_CARRIED_OUT, quantity } from "./fields.ts";
import { killingProbe, lifecycle, readinessProbe } from "./probe.ts";
import { containerSecurityContext } from "./security-context.ts";

const portName = check(str, (name) =>
  name === "" || isPortName(name)
    ? null
    : 'must be at most 15 lower case letters, digits and single "-", with a letter among them',
);
const containerPort = object({
  name: portName,
  containerPort: required(port),
  protocol: oneOf("TCP", "UDP", "SCTP"),
  hostPort: idle(port, "pods of a local mesh have no host ports: give their Service type LoadBalancer"),
  hostIP: idle(str, "pods of a local mesh have no host ports: give their Service type LoadBalancer"),
});

export const resources = object({
  limits: map(quantity),
  requests: map(quantity),
  claims: idle(list(object({ name: str, request: str })), "a local mesh allocates no devices"),
});

const volumeMount = also(
  object({
    name: required(str),
    mountPath: required(str),
    readOnly: bool,
    subPath: check(str, insideOf),
    subPathExpr: check(str, insideOf),
    mountPropagation: idle(str, "mounts of a local mesh are private to the pod", (v) => v === "None"),
    recursiveReadOnly: idle(
      str,
      "a read-only mount of a local mesh is not recursive",
      (v) => v === "Disabled",
    ),
  }),
  (mount, path, report) => {
    if (mount.subPath !== undefined && mount.subPathExpr !== undefined)
      report([...path, "subPathExpr"], "invalid-value", "subPath and subPathExpr exclude each other");
    if (mount.mountPath?.includes(":"))
      report([...path, "mountPath"], "invalid-value", 'must not contain ":"');
  },
);

/** No way out of a volume. */
export function insideOf(path: string): string | null {
  if (path.startsWith("/")) return "must be relative";
  return path.split("/").includes("..") ? 'must not contain ".."' : null;
}

const ALWAYS = "Always";
const CONTAINER = {
  name: required(label),
  image: str,
  imagePullPolicy: oneOf(ALWAYS, "IfNotPresent", "Never"),
  command: list(str),
  args: list(str),
  workingDir: str,
  ports: list(containerPort),
  env: list(envVar),
  envFrom,
  resources,
  resizePolicy: idle(anything, "limits of a local mesh change with the pod"),
  volumeMounts: list(volumeMount),
  volumeDevices: idle(anything, "a local mesh has no block devices"),
  lifecycle,
  livenessProbe: killingProbe,
  readinessProbe,
  startupProbe: killingProbe,
  securityContext: containerSecurityContext,
  stdin: idle(bool, "processes of a local mesh have no standard input", (v) => !v),
  stdinOnce: idle(bool, "processes of a local mesh have no standard input", (v) => !v),
  tty: idle(bool, "processes of a local mesh have no terminal", (v) => !v),
  terminationMessagePath: idle(
    str,
    "a local mesh reads no termination message: the log has it",
    (v) => v === "/dev/termination-log",
  ),
  terminationMessagePolicy: idle(
    oneOf("File", "FallbackToLogsOnError"),
    "a local mesh reads no termination message: the log has it",
    (v) => v === "File",
  ),
  restartPolicyRules: idle(anything, "a local mesh restarts by the pod's restartPolicy alone"),
} as const;

export const container = object({
  ...CONTAINER,
  restartPolicy: idle(
    oneOf(ALWAYS, "OnFailure", "Never"),
    "a local mesh restarts by the pod's restartPolicy alone",
  ),
});

/** `restartPolicy: Always` makes it a sidecar that runs beside the containers. Only those have probes and lifecycle hooks. */
export const initContainer = also(
  object({ ...CONTAINER, restartPolicy: oneOf(ALWAYS, "OnFailure", "Never") }),
  (value, path, report) => {
    if (value.restartPolicy === ALWAYS) return;
    for (const field of ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] as const)
      if (value[field] !== undefined)
        report(
          [...path, field],
          "invalid-value",
          `an init container has none, unless it is a sidecar (restartPolicy: Always)`,
        );
    if (value.restartPolicy !== undefined)
      report(
        [...path, "restartPolicy"],
        NOT_CARRIED_OUT,
        "a local mesh restarts by the pod's restartPolicy alone",
      );
  },
);
