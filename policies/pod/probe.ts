import { int, list, object, oneOf, port, required, str } from "../schema.ts";
import { also, oneIn, portOrName, seconds } from "./fields.ts";

const exec = object({ command: required(list(str)) });
const httpGet = object({
  path: str,
  port: required(portOrName),
  host: str,
  scheme: oneOf("HTTP", "HTTPS"),
  httpHeaders: list(object({ name: required(str), value: required(str) })),
});
const tcpSocket = object({ port: required(portOrName), host: str });

const PROBE = {
  exec,
  httpGet,
  tcpSocket,
  grpc: object({ port: required(port), service: str }),
  initialDelaySeconds: seconds(),
  periodSeconds: seconds(1),
  timeoutSeconds: seconds(1),
  failureThreshold: int(1),
  terminationGracePeriodSeconds: seconds(1),
} as const;
const ACTIONS = ["exec", "httpGet", "tcpSocket", "grpc"];

export const readinessProbe = also(object({ ...PROBE, successThreshold: int(1) }), (probe, path, report) => {
  oneIn(probe, ACTIONS, path, report);
  if (probe.terminationGracePeriodSeconds !== undefined)
    report(
      [...path, "terminationGracePeriodSeconds"],
      "invalid-value",
      "a readiness probe ends nothing: it has no terminationGracePeriodSeconds",
    );
});
/** Of liveness and startup probes: one success is enough (kubernetes.io: "Must be 1"). */
export const killingProbe = also(object({ ...PROBE, successThreshold: int(1, 1) }), (probe, path, report) =>
  oneIn(probe, ACTIONS, path, report),
);

const handler = also(
  object({ exec, httpGet, tcpSocket, sleep: object({ seconds: required(seconds(1)) }) }),
  (value, path, report) => {
    oneIn(value, ["exec", "httpGet", "sleep", "tcpSocket"], path, report);
    if (value.tcpSocket !== undefined)
      report(
        [...path, "tcpSocket"],
        "invalid-value",
        "tcpSocket is no lifecycle handler: use exec, httpGet or sleep",
      );
  },
);
export const lifecycle = object({ postStart: handler, preStop: handler, stopSignal: str });
