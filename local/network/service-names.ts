/** What a Service's name means besides its own address: pods that have names of their own, and other hosts. */
import { type PlatformObject, record } from "../object.ts";
import type { PodFacts } from "../platform-state.ts";

export const CLUSTER_DOMAIN = "cluster.local";

/** As Kubernetes' DNS: in its own namespace a Service also goes by its short name. */
export function serviceNames({ metadata }: PlatformObject, from: string): string[] {
  const ns = namespaceOf({ metadata });
  const long = ["", ".svc", `.svc.${CLUSTER_DOMAIN}`].map((end) => `${metadata.name}.${ns}${end}`);
  return ns === from ? [metadata.name, ...long] : long;
}

function namespaceOf({ metadata }: Pick<PlatformObject, "metadata">): string {
  return metadata.namespace ?? "default";
}

/**
 * The name of a pod in a headless Service: that of a StatefulSet's pod, or its hostname, in the Service that its
 * subdomain names (Kubernetes: DNS for Services and Pods). Null: it has none there.
 */
export function instanceName(pod: PodFacts, service: PlatformObject): string | null {
  const { labels, hostname, subdomain } = pod.template;
  if (subdomain !== undefined && subdomain !== service.metadata.name) return null;
  return hostname ?? labels["statefulset.kubernetes.io/pod-name"] ?? null;
}

/** Where an ExternalName leads: a Service of the mesh, a host outside, or null for one that leads in a circle. */
export function externalTarget(
  alias: PlatformObject,
  objects: readonly PlatformObject[],
): PlatformObject | string | null {
  const services = new Map<string, PlatformObject>();
  for (const o of objects) if (o.kind === "Service") services.set(`${o.metadata.name}.${namespaceOf(o)}`, o);
  const seen = new Set<PlatformObject>();
  let at = alias;
  while (isExternalName(at)) {
    if (seen.has(at)) return null;
    seen.add(at);
    const written = String(record(at.spec)["externalName"] ?? "").toLowerCase();
    const host = written.replace(/\.$/, "");
    const next = services.get(shortOf(host, namespaceOf(at)));
    if (next === undefined) return host;
    at = next;
  }
  return at;
}

/** [full name, host] of ExternalName Services that lead to hosts outside. */
export function outsideAliases(objects: readonly PlatformObject[]): (readonly [string, string])[] {
  return objects
    .filter((o) => o.kind === "Service" && isExternalName(o))
    .flatMap((o) => {
      const target = externalTarget(o, objects);
      const name = `${o.metadata.name}.${namespaceOf(o)}.svc.${CLUSTER_DOMAIN}`;
      return typeof target === "string" && target !== "" ? [[name, target] as const] : [];
    });
}

export function isExternalName(service: PlatformObject): boolean {
  return record(service.spec)["type"] === "ExternalName";
}

/** "name.namespace" if the host has one of the forms of a Service's name; else itself. */
function shortOf(host: string, namespace: string): string {
  const short = host.replace(new RegExp(`\\.svc(\\.${CLUSTER_DOMAIN.replace(".", "\\.")})?$`), "");
  return short.includes(".") ? short : `${short}.${namespace}`;
}
