import { createHash } from "node:crypto";
import { dirname, resolve } from "node:path";
import { parse as parseYaml } from "yaml";
import {
  type Json,
  list,
  PlatformError,
  type PlatformObject,
  place,
  record,
  stringMap,
  strings,
} from "./object.ts";

export interface PortSpec {
  readonly name: string;
  readonly containerPort: number;
  readonly protocol: string;
}

export type ProbeAction =
  | { readonly kind: "http"; readonly path: string; readonly port: number; readonly headers: Json }
  | { readonly kind: "tcp"; readonly port: number }
  | { readonly kind: "exec"; readonly command: readonly string[] };

/** Times in seconds, defaults as Kubernetes: period 10, timeout 1, success 1, failure 3. */
export interface ProbeSpec {
  readonly action: ProbeAction;
  readonly initialDelaySeconds: number;
  readonly periodSeconds: number;
  readonly timeoutSeconds: number;
  readonly successThreshold: number;
  readonly failureThreshold: number;
}

export type EnvValue = { readonly value: string } | { readonly fieldPath: string };

export interface ContainerSpec {
  readonly name: string;
  readonly command: readonly string[];
  readonly cwd: string;
  readonly env: readonly { readonly name: string; readonly from: EnvValue }[];
  readonly ports: readonly PortSpec[];
  readonly readiness?: ProbeSpec;
  readonly liveness?: ProbeSpec;
  readonly startup?: ProbeSpec;
}

/** What one Deployment or bare Pod asks for: `replicas` pods of this shape. */
export interface PodTemplate {
  readonly workload: string;
  readonly namespace: string;
  readonly ownerKind: "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" | "Job" | "Pod";
  readonly replicas: number;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly serviceAccount: string;
  /** Annotation `proxy.istio.io/config` (istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#ProxyConfig). */
  readonly proxyConfig: { readonly concurrency?: number };
  readonly gateway: boolean;
  readonly inject: boolean;
  readonly graceSeconds: number;
  /** Ports of all containers, for the platform state; a gateway has ports but nothing to run. */
  readonly ports: readonly PortSpec[];
  readonly containers: readonly ContainerSpec[];
  /** Changes when, and only when, running pods must be replaced. */
  readonly hash: string;
}

/** Reads Deployments and Pods; all errors are collected into one PlatformError. */
export function podTemplates(objects: readonly PlatformObject[]): PodTemplate[] {
  const errors: string[] = [];
  const templates: PodTemplate[] = [];
  for (const object of objects) {
    try {
      if (object.kind === "Deployment") {
        const spec = record(object.spec);
        const template = record(spec["template"]);
        templates.push(
          readTemplate(object, record(template["metadata"]), record(template["spec"]), count(object, spec)),
        );
      } else if (object.kind === "Pod") {
        templates.push(readTemplate(object, { ...object.metadata }, record(object.spec), 1));
      }
    } catch (error) {
      if (!(error instanceof PlatformError)) throw error;
      errors.push(error.message);
    }
  }
  if (errors.length > 0) throw new PlatformError(errors.join("\n"));
  return templates;
}

function count(object: PlatformObject, spec: Json): number {
  const replicas = spec["replicas"] ?? 1;
  if (typeof replicas !== "number" || !Number.isInteger(replicas) || replicas < 0)
    throw new PlatformError(
      `${place(object)}: spec.replicas: ${JSON.stringify(replicas)} is not a whole number from 0 up`,
    );
  return replicas;
}

/** One pod template of an object, with its metadata. Throws PlatformError. */
export function readTemplate(object: PlatformObject, metadata: Json, spec: Json, replicas = 1): PodTemplate {
  const annotations = stringMap(metadata["annotations"]);
  const labels = stringMap(metadata["labels"]);
  const gateway = annotations["inject.istio.io/templates"] === "gateway";
  const inject = (labels["sidecar.istio.io/inject"] ?? annotations["sidecar.istio.io/inject"]) !== "false";
  const containers = list(spec["containers"]);
  if (containers.length === 0)
    throw new PlatformError(`${place(object)}: spec.containers is empty: name at least one container`);
  const ports = containers.flatMap((c) => readPorts(c));
  const runnable = containers
    .filter((c) => !(gateway && c["name"] === "istio-proxy"))
    .map((c) => readContainer(object, c));
  const body = {
    workload: object.metadata.name,
    namespace: object.metadata.namespace ?? "default",
    ownerKind: object.kind as PodTemplate["ownerKind"],
    labels,
    annotations,
    serviceAccount: String(spec["serviceAccountName"] ?? "default"),
    proxyConfig: readProxyConfig(object, annotations["proxy.istio.io/config"]),
    gateway,
    inject,
    graceSeconds: Number(spec["terminationGracePeriodSeconds"] ?? 30),
    ports,
    containers: runnable,
  };
  return { ...body, replicas, hash: hashOf(body) };
}

/** The order of a map's keys means nothing, so it changes nothing. */
function hashOf(body: unknown): string {
  const sorted = (_key: string, value: unknown): unknown =>
    typeof value === "object" && value !== null && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
      : value;
  return createHash("sha256").update(JSON.stringify(body, sorted)).digest("hex").slice(0, 10);
}

function readProxyConfig(object: PlatformObject, text: string | undefined): { concurrency?: number } {
  if (text === undefined) return {};
  const at = `${place(object)}: annotation proxy.istio.io/config`;
  const config = record(parseYaml(text));
  for (const name of Object.keys(config))
    if (name !== "concurrency")
      throw new PlatformError(`${at}: ${name} is not supported; only concurrency is`);
  const { concurrency } = config;
  if (typeof concurrency !== "number" || !Number.isInteger(concurrency) || concurrency < 1)
    throw new PlatformError(
      `${at}: concurrency: ${JSON.stringify(concurrency)} is not a whole number from 1 up`,
    );
  return { concurrency };
}

function readPorts(container: Json): PortSpec[] {
  return list(container["ports"]).map((p) => ({
    name: String(p["name"] ?? ""),
    containerPort: Number(p["containerPort"]),
    protocol: String(p["protocol"] ?? "TCP"),
  }));
}

function readContainer(object: PlatformObject, container: Json): ContainerSpec {
  const where = `${place(object)}: container ${String(container["name"])}`;
  const folder = dirname(resolve(object.source?.file ?? "x"));
  const command = strings(container["command"]);
  if (command.length === 0)
    throw new PlatformError(
      `${where}: no "command", and the image ${JSON.stringify(container["image"] ?? "")} is not pulled on a local mesh; ` +
        `add the program to run, for example: command: ["node", "server.js"] (paths are relative to ${folder})`,
    );
  const ports = readPorts(container);
  const env = list(container["env"]).map((e) => ({ name: String(e["name"]), from: readEnv(where, e) }));
  return {
    name: String(container["name"]),
    command: [...command, ...strings(container["args"])],
    cwd: resolve(folder, String(container["workingDir"] ?? ".")),
    env,
    ports,
    ...readProbe(where, container, ports, "readiness"),
    ...readProbe(where, container, ports, "liveness"),
    ...readProbe(where, container, ports, "startup"),
  };
}

function readEnv(where: string, entry: Json): EnvValue {
  const from = entry["valueFrom"];
  if (from === undefined) return { value: String(entry["value"] ?? "") };
  const path = record(record(from)["fieldRef"])["fieldPath"];
  if (typeof path !== "string")
    throw new PlatformError(
      `${where}: env ${String(entry["name"])}: only valueFrom.fieldRef works on a local mesh; write a plain value`,
    );
  return { fieldPath: path };
}

function readProbe<K extends string>(
  where: string,
  container: Json,
  ports: readonly PortSpec[],
  key: K,
): { [P in K]?: ProbeSpec } {
  const raw = container[`${key}Probe`];
  if (raw === undefined) return {};
  const probe = record(raw);
  const http = record(probe["httpGet"]);
  const portOf = (value: unknown): number => {
    const port = ports.find((p) => p.name === value)?.containerPort ?? Number(value);
    if (!Number.isInteger(port))
      throw new PlatformError(
        `${where}: ${key}Probe: port ${JSON.stringify(value)} is not a port of the container`,
      );
    return port;
  };
  let action: ProbeAction;
  if (probe["httpGet"] !== undefined)
    action = {
      kind: "http",
      path: String(http["path"] ?? "/"),
      port: portOf(http["port"]),
      headers: Object.fromEntries(
        list(http["httpHeaders"]).map((h) => [String(h["name"]), String(h["value"])]),
      ),
    };
  else if (probe["tcpSocket"] !== undefined)
    action = { kind: "tcp", port: portOf(record(probe["tcpSocket"])["port"]) };
  else if (probe["exec"] !== undefined)
    action = { kind: "exec", command: strings(record(probe["exec"])["command"]) };
  else throw new PlatformError(`${where}: ${key}Probe needs httpGet, tcpSocket or exec`);
  const number = (name: string, fallback: number): number => Number(probe[name] ?? fallback);
  const spec: ProbeSpec = {
    action,
    initialDelaySeconds: number("initialDelaySeconds", 0),
    periodSeconds: number("periodSeconds", 10),
    timeoutSeconds: number("timeoutSeconds", 1),
    successThreshold: number("successThreshold", 1),
    failureThreshold: number("failureThreshold", 3),
  };
  return { [key]: spec } as { [P in K]?: ProbeSpec };
}

/** Kubernetes' $(NAME) expansion: unknown names stay, $$(NAME) is an escape. */
export function expand(text: string, env: Readonly<Record<string, string>>): string {
  return text.replace(/\$(\$|\(([^)]+)\))/g, (all, mark: string, name: string | undefined) =>
    mark === "$" ? "$" : (env[name ?? ""] ?? all),
  );
}
