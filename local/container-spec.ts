import { dirname, resolve } from "node:path";
import { type Json, list, PlatformError, type PlatformObject, place, record, strings } from "./object.ts";
import { quantity } from "./quantity.ts";

export interface PortSpec {
  readonly name: string;
  readonly containerPort: number;
  readonly protocol: string;
}

export interface HttpAction {
  readonly kind: "http";
  readonly scheme: "http" | "https";
  /** Undefined: the pod itself. */
  readonly host: string | undefined;
  readonly path: string;
  readonly port: number;
  readonly headers: Readonly<Record<string, string>>;
}
export type ProbeAction =
  | HttpAction
  | { readonly kind: "tcp"; readonly host: string | undefined; readonly port: number }
  | { readonly kind: "grpc"; readonly port: number; readonly service: string }
  | { readonly kind: "exec"; readonly command: readonly string[] };
export type HookAction =
  | HttpAction
  | Extract<ProbeAction, { kind: "exec" }>
  | { readonly kind: "sleep"; readonly seconds: number };

/** Times in seconds, defaults as Kubernetes: period 10, timeout 1, success 1, failure 3. */
export interface ProbeSpec {
  readonly action: ProbeAction;
  readonly initialDelaySeconds: number;
  readonly periodSeconds: number;
  readonly timeoutSeconds: number;
  readonly successThreshold: number;
  readonly failureThreshold: number;
  /** Of the container that this probe ends; undefined: the pod's. */
  readonly graceSeconds: number | undefined;
}

export type DataKind = "ConfigMap" | "Secret";
/** One field of the downward API, or what a container may use. */
export type Downward =
  | { readonly fieldPath: string }
  | { readonly resource: string; readonly container: string; readonly divisor: number };
export type EnvValue =
  | { readonly value: string }
  | Downward
  | { readonly data: DataKind; readonly name: string; readonly key: string; readonly optional: boolean };
export interface EnvSource {
  readonly prefix: string;
  readonly data: DataKind;
  readonly name: string;
  readonly optional: boolean;
}

export interface Mount {
  readonly volume: string;
  readonly mountPath: string;
  readonly readOnly: boolean;
  /** "" = the whole volume; may hold $(NAME) when `expands`. */
  readonly subPath: string;
  readonly expands: boolean;
}

/** cpu in cores, memory in bytes. */
export interface Limits {
  readonly cpu?: number;
  readonly memory?: number;
}

export interface ContainerSpec {
  readonly name: string;
  readonly image: string;
  readonly command: readonly string[];
  readonly cwd: string;
  readonly env: readonly { readonly name: string; readonly from: EnvValue }[];
  readonly envFrom: readonly EnvSource[];
  readonly ports: readonly PortSpec[];
  readonly mounts: readonly Mount[];
  readonly limits: Limits;
  readonly requests: Limits;
  readonly readiness?: ProbeSpec;
  readonly liveness?: ProbeSpec;
  readonly startup?: ProbeSpec;
  readonly postStart?: HookAction;
  readonly preStop?: HookAction;
  readonly stopSignal: NodeJS.Signals;
  /** An init container with restartPolicy Always: it runs beside the others until they are done. */
  readonly sidecar: boolean;
}

/** Throws PlatformError. */
export function readContainer(object: PlatformObject, container: Json): ContainerSpec {
  const name = String(container["name"]);
  const where = `${place(object)}: container ${name}`;
  const folder = dirname(resolve(object.source?.file ?? "x"));
  const command = strings(container["command"]);
  if (command.length === 0) throw new PlatformError(`${where}: ${noCommand(object, container)}`);
  const ports = readPorts(container);
  const lifecycle = record(container["lifecycle"]);
  const resources = record(container["resources"]);
  const limits = readLimits(resources["limits"]);
  return {
    name,
    image: String(container["image"] ?? ""),
    command: [...command, ...strings(container["args"])],
    cwd: resolve(folder, String(container["workingDir"] || ".")),
    env: list(container["env"]).map((e) => ({ name: String(e["name"]), from: readEnv(where, name, e) })),
    envFrom: list(container["envFrom"]).map(readEnvFrom),
    ports,
    mounts: list(container["volumeMounts"]).map((m) => ({
      volume: String(m["name"]),
      mountPath: String(m["mountPath"]),
      readOnly: m["readOnly"] === true,
      subPath: String(m["subPathExpr"] ?? m["subPath"] ?? ""),
      expands: m["subPathExpr"] !== undefined,
    })),
    limits,
    requests: { ...limits, ...readLimits(resources["requests"]) },
    ...readProbe(where, container, ports, "readiness"),
    ...readProbe(where, container, ports, "liveness"),
    ...readProbe(where, container, ports, "startup"),
    ...readHook(where, lifecycle, ports, "postStart"),
    ...readHook(where, lifecycle, ports, "preStop"),
    stopSignal: String(lifecycle["stopSignal"] ?? "SIGTERM") as NodeJS.Signals,
    sidecar: container["restartPolicy"] === "Always",
  };
}

/** What to tell of a container that only has an image. */
export function noCommand(object: PlatformObject, container: Json): string {
  const folder = dirname(resolve(object.source?.file ?? "x"));
  return (
    `no "command", and the image ${JSON.stringify(container["image"] ?? "")} is not pulled on a local mesh; ` +
    `add the program to run, for example: command: ["node", "server.js"] (paths are relative to ${folder})`
  );
}

/** As `load` has checked them; nothing is refused here. */
export function readPorts(container: Json): PortSpec[] {
  return list(container["ports"]).map((p) => ({
    name: String(p["name"] ?? ""),
    containerPort: Number(p["containerPort"]),
    protocol: String(p["protocol"] ?? "TCP"),
  }));
}

function readLimits(value: unknown): Limits {
  const { cpu, memory } = record(value);
  const cores = quantity(cpu);
  const bytes = quantity(memory);
  return {
    ...(cores === undefined ? {} : { cpu: cores }),
    ...(bytes === undefined ? {} : { memory: bytes }),
  };
}

/** fieldRef or resourceFieldRef; `container` is the one that is meant where none is named. */
export function readDownward(from: Json, container: string): Downward | undefined {
  const path = record(from["fieldRef"])["fieldPath"];
  if (typeof path === "string") return { fieldPath: path };
  const resource = record(from["resourceFieldRef"]);
  if (typeof resource["resource"] !== "string") return undefined;
  return {
    resource: resource["resource"],
    container: String(resource["containerName"] ?? container),
    divisor: quantity(resource["divisor"] ?? 1) || 1,
  };
}

function readEnv(where: string, container: string, entry: Json): EnvValue {
  const raw = entry["valueFrom"];
  if (raw === undefined || raw === null) return { value: String(entry["value"] ?? "") };
  const from = record(raw);
  const downward = readDownward(from, container);
  if (downward !== undefined) return downward;
  for (const data of ["ConfigMap", "Secret"] as const) {
    const ref = record(from[data === "Secret" ? "secretKeyRef" : "configMapKeyRef"]);
    if (typeof ref["key"] === "string")
      return { data, name: String(ref["name"]), key: ref["key"], optional: ref["optional"] === true };
  }
  throw new PlatformError(
    `${where}: env ${String(entry["name"])}: valueFrom needs one of fieldRef, resourceFieldRef, configMapKeyRef, secretKeyRef`,
  );
}

function readEnvFrom(entry: Json): EnvSource {
  const data = entry["secretRef"] === undefined ? ("ConfigMap" as const) : ("Secret" as const);
  const ref = record(entry["secretRef"] ?? entry["configMapRef"]);
  return {
    prefix: String(entry["prefix"] ?? ""),
    data,
    name: String(ref["name"]),
    optional: ref["optional"] === true,
  };
}

type PortOf = (kind: string, value: unknown) => number;

function portOf(where: string, ports: readonly PortSpec[]): PortOf {
  return (kind, value) => {
    const port = ports.find((p) => p.name === value)?.containerPort ?? Number(value);
    if (!Number.isInteger(port))
      throw new PlatformError(
        `${where}: ${kind}: port ${JSON.stringify(value)} is not a port of the container`,
      );
    return port;
  };
}

function readHttp(kind: string, raw: unknown, find: PortOf): HttpAction {
  const http = record(raw);
  return {
    kind: "http",
    scheme: http["scheme"] === "HTTPS" ? "https" : "http",
    host: typeof http["host"] === "string" && http["host"] !== "" ? http["host"] : undefined,
    path: String(http["path"] ?? "/"),
    port: find(kind, http["port"]),
    headers: Object.fromEntries(
      list(http["httpHeaders"]).map((h) => [String(h["name"]), String(h["value"])]),
    ),
  };
}

function readProbe<K extends string>(
  where: string,
  container: Json,
  ports: readonly PortSpec[],
  key: K,
): { [P in K]?: ProbeSpec } {
  const raw = container[`${key}Probe`];
  if (raw === undefined || raw === null) return {};
  const kind = `${key}Probe`;
  const probe = record(raw);
  const find = portOf(where, ports);
  const tcp = record(probe["tcpSocket"]);
  const grpc = record(probe["grpc"]);
  let action: ProbeAction;
  if (probe["httpGet"] !== undefined) action = readHttp(kind, probe["httpGet"], find);
  else if (probe["tcpSocket"] !== undefined)
    action = {
      kind: "tcp",
      host: typeof tcp["host"] === "string" && tcp["host"] !== "" ? tcp["host"] : undefined,
      port: find(kind, tcp["port"]),
    };
  else if (probe["grpc"] !== undefined)
    action = { kind: "grpc", port: find(kind, grpc["port"]), service: String(grpc["service"] ?? "") };
  else if (probe["exec"] !== undefined)
    action = { kind: "exec", command: strings(record(probe["exec"])["command"]) };
  else throw new PlatformError(`${where}: ${kind} needs httpGet, tcpSocket, grpc or exec`);
  const number = (name: string, fallback: number): number => Number(probe[name] ?? fallback);
  const grace = probe["terminationGracePeriodSeconds"];
  const spec: ProbeSpec = {
    action,
    initialDelaySeconds: number("initialDelaySeconds", 0),
    periodSeconds: number("periodSeconds", 10),
    timeoutSeconds: number("timeoutSeconds", 1),
    successThreshold: number("successThreshold", 1),
    failureThreshold: number("failureThreshold", 3),
    graceSeconds: grace === undefined ? undefined : Number(grace),
  };
  return { [key]: spec } as { [P in K]?: ProbeSpec };
}

function readHook<K extends "postStart" | "preStop">(
  where: string,
  lifecycle: Json,
  ports: readonly PortSpec[],
  key: K,
): { [P in K]?: HookAction } {
  if (lifecycle[key] === undefined || lifecycle[key] === null) return {};
  const raw = record(lifecycle[key]);
  let hook: HookAction;
  if (raw["exec"] !== undefined) hook = { kind: "exec", command: strings(record(raw["exec"])["command"]) };
  else if (raw["httpGet"] !== undefined) hook = readHttp(key, raw["httpGet"], portOf(where, ports));
  else if (raw["sleep"] !== undefined)
    hook = { kind: "sleep", seconds: Number(record(raw["sleep"])["seconds"]) };
  else throw new PlatformError(`${where}: lifecycle.${key} needs exec, httpGet or sleep`);
  return { [key]: hook } as { [P in K]?: HookAction };
}

/** Kubernetes' $(NAME) expansion: unknown names stay, $$(NAME) is an escape. */
export function expand(text: string, env: Readonly<Record<string, string>>): string {
  return text.replace(/\$(\$|\(([^)]+)\))/g, (all, mark: string, name: string | undefined) =>
    mark === "$" ? "$" : (env[name ?? ""] ?? all),
  );
}
