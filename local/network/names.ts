import { closeSync, ftruncateSync, openSync, readFileSync, writeFileSync, writeSync } from "node:fs";
import { list, type PlatformObject, record, stringMap } from "../object.ts";
import type { PodFacts } from "../platform-state.ts";
import { NODE_IP } from "./rules.ts";
import { externalTarget, instanceName, isExternalName, serviceNames } from "./service-names.ts";

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
    `${pod.address.podIp} ${pod.template.hostname ?? pod.name}`,
    `${NODE_IP} ${HOST_NAME}`,
    ...pod.template.hostAliases.map(({ ip, hostnames }) => `${ip} ${hostnames.join(" ")}`),
  ];
  let entries = 0;
  for (const object of names.objects) {
    if (object.kind === "Service") lines.push(...serviceLines(object, pod.template.namespace, names));
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

function serviceLines(service: PlatformObject, from: string, names: Names): string[] {
  const own = serviceNames(service, from);
  const target = isExternalName(service) ? externalTarget(service, names.objects) : service;
  // A host outside is a name to look up, which no file of addresses can say: DNS does (dns.ts).
  if (target === null || typeof target === "string")
    return target === HOST_NAME ? [`${NODE_IP} ${own.join(" ")}`] : [];
  const virtual = names.vip(keyOf(target));
  if (virtual !== undefined && record(target.spec)["clusterIP"] !== "None")
    return [`${virtual} ${own.join(" ")}`];
  return endpointsOf(target, names.pods).flatMap((p) => {
    const { podIp } = p.address;
    const name = instanceName(p, target);
    const itself = name === null ? [] : [`${podIp} ${own.map((n) => `${name}.${n}`).join(" ")}`];
    return [`${podIp} ${own.join(" ")}`, ...itself];
  });
}

function keyOf({ metadata }: PlatformObject): string {
  return `${metadata.namespace ?? "default"}/${metadata.name}`;
}

/** The pods that a Service selects, and publishes: ready ones, or all where it says so. */
export function endpointsOf(service: PlatformObject, pods: readonly PodFacts[]): PodFacts[] {
  const selector = Object.entries(stringMap(record(service.spec)["selector"]));
  if (selector.length === 0) return [];
  const ns = service.metadata.namespace ?? "default";
  const unready = record(service.spec)["publishNotReadyAddresses"] === true;
  return pods.filter(
    (p) =>
      (p.ready || unready) &&
      p.template.namespace === ns &&
      selector.every(([key, value]) => p.template.labels[key] === value),
  );
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
