import { createHash } from "node:crypto";
import { parse as parseYaml } from "yaml";
import { type ContainerSpec, type PortSpec, readContainer, readPorts } from "./container-spec.ts";
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
import { readVolume, type VolumeSpec } from "./volumes/spec.ts";

export type RestartPolicy = "Always" | "OnFailure" | "Never";

/** What a workload or a bare Pod asks of each of its pods. */
export interface PodTemplate {
  readonly workload: string;
  readonly namespace: string;
  readonly ownerKind: "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" | "Job" | "Pod";
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly serviceAccount: string;
  /** Annotation `proxy.istio.io/config` (istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#ProxyConfig). */
  readonly proxyConfig: { readonly concurrency?: number };
  readonly gateway: boolean;
  readonly inject: boolean;
  readonly graceSeconds: number;
  readonly restartPolicy: RestartPolicy;
  /** How long the pod may run at all; undefined: as long as it likes. */
  readonly activeDeadlineSeconds: number | undefined;
  /** Undefined: the pod's name. */
  readonly hostname: string | undefined;
  readonly subdomain: string | undefined;
  readonly hostAliases: readonly { readonly ip: string; readonly hostnames: readonly string[] }[];
  /** Ports of all containers, for the platform state; a gateway has ports but nothing to run. */
  readonly ports: readonly PortSpec[];
  readonly containers: readonly ContainerSpec[];
  /** In order; those with `sidecar` run on. */
  readonly initContainers: readonly ContainerSpec[];
  readonly volumes: readonly VolumeSpec[];
  /** Changes when, and only when, running pods must be replaced. */
  readonly hash: string;
}

/** One pod template of an object, with its metadata. Throws PlatformError. */
export function readTemplate(object: PlatformObject, metadata: Json, spec: Json): PodTemplate {
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
    // The second is its old name, which Kubernetes still honours.
    serviceAccount: String(spec["serviceAccountName"] || spec["serviceAccount"] || "default"),
    proxyConfig: readProxyConfig(object, annotations["proxy.istio.io/config"]),
    gateway,
    inject,
    graceSeconds: Number(spec["terminationGracePeriodSeconds"] ?? 30),
    restartPolicy: String(spec["restartPolicy"] ?? "Always") as RestartPolicy,
    activeDeadlineSeconds: optional(spec["activeDeadlineSeconds"], Number),
    hostname: optional(spec["hostname"], String),
    subdomain: optional(spec["subdomain"], String),
    hostAliases: list(spec["hostAliases"]).map((a) => ({
      ip: String(a["ip"]),
      hostnames: strings(a["hostnames"]),
    })),
    ports,
    containers: runnable,
    initContainers: list(spec["initContainers"]).map((c) => readContainer(object, c)),
    volumes: [
      ...list(spec["volumes"]).map((v) => readVolume(object, v)),
      ...list(record(object.spec)["volumeClaimTemplates"]).map(claimTemplate),
    ],
  };
  return { ...body, hash: hashOf(body) };
}

/** The order of a map's keys means nothing, so it changes nothing. */
function hashOf(body: unknown): string {
  const sorted = (_key: string, value: unknown): unknown =>
    typeof value === "object" && value !== null && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
      : value;
  return createHash("sha256").update(JSON.stringify(body, sorted)).digest("hex").slice(0, 10);
}

function optional<T>(value: unknown, read: (value: unknown) => T): T | undefined {
  return value === undefined || value === null ? undefined : read(value);
}

/** Each pod of a StatefulSet has a claim of its own. */
function claimTemplate(raw: Json): VolumeSpec {
  const name = String(record(raw["metadata"])["name"]);
  return { name, kind: "claim", claim: name, perPod: true };
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
