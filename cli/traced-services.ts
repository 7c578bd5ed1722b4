/** Which services of the trace store a person means: the store knows them as their proxies do, `app.namespace`. */
import type { ListedObject, WorkloadInfo } from "#control-plane/admin/contract.ts";

/** `web`, `web.shop`, `web.shop.svc`, `web.shop.svc.cluster.local`, `shop/web`, `svc/web`, `deploy/web`. */
const NAME =
  /^(?:(?:svc|services?|deploy|deployments?|sts|statefulsets?|po|pods?)\/)?([^./]+)(?:\.([^./]+))?(?:\.svc(?:\..+)?)?\.?$/;

/**
 * Empty when nothing that was traced has such a name. Besides the names in the store, a person may know the Service
 * (whose pods' proxies speak), the workload or the pod.
 */
export function tracedServices(
  wanted: string,
  traced: readonly string[],
  workloads: readonly WorkloadInfo[],
  services: readonly ListedObject[],
): string[] {
  if (traced.includes(wanted)) return [wanted];
  const [, name, namespace] = NAME.exec(wanted.toLowerCase()) ?? [];
  const asPath = /^([^/]+)\/([^/]+)$/.exec(wanted.toLowerCase());
  const found = new Set<string>();
  const add = (name: string, namespace: string | undefined): void => {
    const here = (ns: string): boolean => namespace === undefined || ns === namespace;
    for (const one of traced)
      if (one === `${name}.${namespace}` || (namespace === undefined && one.startsWith(`${name}.`)))
        found.add(one);
    for (const service of services)
      if (service.name === name && here(service.namespace))
        for (const one of workloads) if (selects(service, one)) found.add(proxyName(one));
    for (const one of workloads)
      if (here(one.namespace) && (one.workload === name || one.pod === name || one.labels["app"] === name))
        found.add(proxyName(one));
  };
  if (name !== undefined) add(name, namespace);
  if (asPath !== null) add(asPath[2]!, asPath[1]);
  return [...found].filter((one) => traced.includes(one)).sort();
}

/** As the proxy's node says (local/pod.ts), and as control-plane/write/tracing.ts tells Envoy. */
function proxyName({ labels, workload, namespace }: WorkloadInfo): string {
  return `${labels["app"] ?? workload}.${namespace}`;
}

function selects({ namespace, object }: ListedObject, workload: WorkloadInfo): boolean {
  const selector = (object["spec"] as { selector?: Readonly<Record<string, string>> } | undefined)?.selector;
  const pairs = Object.entries(selector ?? {});
  return (
    namespace === workload.namespace &&
    pairs.length > 0 &&
    pairs.every(([key, value]) => workload.labels[key] === value)
  );
}
