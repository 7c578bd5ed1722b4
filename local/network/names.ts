import { closeSync, ftruncateSync, openSync, readFileSync, writeFileSync, writeSync } from "node:fs";
import { list, type PlatformObject, record, stringMap } from "../object.ts";
import type { PodFacts } from "../platform-state.ts";
import { NODE_IP } from "./rules.ts";

/** As Kubernetes' DNS: the namespace's own services by their short name, all by the longer ones. */
export const CLUSTER_DOMAIN = "cluster.local";
/** The host as pods see it. */
const HOST_NAME = "host.weft.internal";
/** Addresses for hosts of ServiceEntries that have none, as Istio allocates them: the proxy goes by port and Host header. */
const ENTRY_PREFIX = "240.240";

export interface Names {
  readonly objects: readonly PlatformObject[];
  readonly pods: readonly PodFacts[];
  /** The virtual address of namespace/name; undefined for what has none. */
  vip(key: string): string | undefined;
}

/** /etc/hosts of one pod. */
export function hostsFile(pod: PodFacts, names: Names): string {
  const lines = [
    "127.0.0.1 localhost",
    "::1 localhost ip6-localhost ip6-loopback",
    `${pod.address.podIp} ${pod.name}`,
    `${NODE_IP} ${HOST_NAME}`,
  ];
  let entries = 0;
  for (const object of names.objects) {
    if (object.kind === "Service")
      for (const address of addresses(object, names))
        lines.push(`${address} ${serviceNames(object, pod.template.namespace).join(" ")}`);
    else if (object.kind === "ServiceEntry" && pod.template.inject)
      for (const host of entryHosts(object)) {
        entries++;
        const given = record(object.spec)["addresses"];
        const first = Array.isArray(given) ? String(given[0]) : "/";
        lines.push(
          `${first.includes("/") ? `${ENTRY_PREFIX}.${entries >> 8}.${entries & 255}` : first} ${host}`,
        );
      }
  }
  return `${lines.join("\n")}\n`;
}

function addresses(service: PlatformObject, { pods, vip }: Names): string[] {
  const spec = record(service.spec);
  const ns = service.metadata.namespace ?? "default";
  if (spec["clusterIP"] !== "None") {
    const address = vip(`${ns}/${service.metadata.name}`);
    return address === undefined ? [] : [address];
  }
  return endpointsOf(service, pods).map((p) => p.address.podIp);
}

/** The ready pods that a Service selects. */
export function endpointsOf(service: PlatformObject, pods: readonly PodFacts[]): PodFacts[] {
  const selector = Object.entries(stringMap(record(service.spec)["selector"]));
  if (selector.length === 0) return [];
  const ns = service.metadata.namespace ?? "default";
  return pods.filter(
    (p) =>
      p.ready &&
      p.template.namespace === ns &&
      selector.every(([key, value]) => p.template.labels[key] === value),
  );
}

function serviceNames({ metadata }: PlatformObject, from: string): string[] {
  const ns = metadata.namespace ?? "default";
  const long = ["", ".svc", `.svc.${CLUSTER_DOMAIN}`].map((end) => `${metadata.name}.${ns}${end}`);
  return ns === from ? [metadata.name, ...long] : long;
}

/**
 * What the proxy itself looks up under the same name must stay a real name: the file would lead it back to itself.
 */
function entryHosts(entry: PlatformObject): string[] {
  const spec = record(entry.spec);
  const hosts = Array.isArray(spec["hosts"]) ? spec["hosts"].map(String) : [];
  const resolution = String(spec["resolution"] ?? "NONE");
  const dialled = new Set(list(spec["endpoints"]).map((e) => String(e["address"])));
  return hosts.filter(
    (host) =>
      !host.includes("*") &&
      (resolution === "STATIC" || (resolution.startsWith("DNS") && dialled.size > 0 && !dialled.has(host))),
  );
}

/** /etc/nsswitch.conf that asks files before everything else; null where the host's does so already. */
export function filesFirst(nsswitch: string): string | null {
  const line = /^[ \t]*hosts:[ \t]*(.*)$/m.exec(nsswitch);
  if (line === null || line[1]?.trimStart().startsWith("files")) return null;
  return nsswitch.replace(line[0], "hosts: files dns");
}

/** Rewrites a file that pods see through a bind mount: the mount shows the inode, so it is never replaced. */
export function rewrite(file: string, text: string): void {
  try {
    if (readFileSync(file, "utf8") === text) return;
  } catch {
    writeFileSync(file, text);
    return;
  }
  // New bytes first, then the length: a reader meets old or new lines, never an empty file.
  const fd = openSync(file, "r+");
  try {
    const bytes = Buffer.from(text);
    writeSync(fd, bytes, 0, bytes.length, 0);
    ftruncateSync(fd, bytes.length);
  } finally {
    closeSync(fd);
  }
}
