/** The pods that a person means: POD, WORKLOAD, `deploy/NAME`, `svc/NAME`, each also as NAME.NAMESPACE. */
import type { ObjectsAnswer } from "#control-plane/admin/contract.ts";
import type { PlatformStatus, PodStatus } from "#local/contract.ts";
import { AdminClient } from "./admin-client.ts";
import { UserError } from "./errors.ts";
import { knownKind } from "./kind-names.ts";
import type { Manifest } from "./listing.ts";
import { platformStatus } from "./platform-client.ts";

export interface Target {
  /** Ready ones first. */
  readonly pods: readonly [PodStatus, ...PodStatus[]];
  /** Where a Service was named. */
  readonly service: Manifest | null;
}

/** `namespace` null: in any. Throws UserError where it is nobody, or several that are not pods of one workload. */
export async function targetOf(stateDir: string, wanted: string, namespace: string | null): Promise<Target> {
  const status = await platformStatus(stateDir);
  const [kind, name] = split(wanted);
  const here = (ns: string): boolean => namespace === null || ns === namespace;
  if (kind === "Service") return ofService(stateDir, status, name, here);
  const named = status.pods.filter(
    (pod) =>
      here(pod.namespace) && (kind === "Pod" || kind === null ? is(pod.name, pod.namespace, name) : false),
  );
  const owned = status.pods.filter(
    (pod) =>
      here(pod.namespace) && is(pod.workload, pod.namespace, name) && (kind === null || pod.kind === kind),
  );
  return { pods: one(named.length > 0 ? named : owned, wanted, status), service: null };
}

async function ofService(
  stateDir: string,
  status: PlatformStatus,
  name: string,
  here: (namespace: string) => boolean,
): Promise<Target> {
  const { objects } = await AdminClient.controlPlane(stateDir).get<ObjectsAnswer>("/objects");
  const found = objects.filter(
    (o) => o.kind === "Service" && here(o.namespace) && is(o.name, o.namespace, name),
  );
  const [service] = found;
  if (service === undefined) throw new UserError(`services "${name}" not found`);
  if (found.length > 1)
    throw new UserError(
      `${name} is in several namespaces: say which with -n ${found.map((o) => o.namespace).join(" or -n ")}`,
    );
  const manifest = service.object as Manifest;
  const selector = Object.entries((manifest.spec?.["selector"] ?? {}) as Record<string, string>);
  const selected = new Set(
    objects
      .filter(({ kind, namespace, object }) => {
        const labels = (object as Manifest).metadata?.labels ?? {};
        return (
          kind === "Pod" && namespace === service.namespace && selector.every(([k, v]) => labels[k] === v)
        );
      })
      .map((pod) => pod.name),
  );
  const pods = status.pods.filter((pod) => pod.namespace === service.namespace && selected.has(pod.name));
  if (selector.length === 0 || pods.length === 0)
    throw new UserError(`service ${name} selects no pod: weft describe svc/${name} says whom it wants`);
  return { pods: one(pods, name, status), service: manifest };
}

/** `deploy/web` -> Deployment, web. */
function split(wanted: string): [kind: string | null, name: string] {
  const [kind = "", name, ...more] = wanted.split("/");
  if (name === undefined) return [null, wanted];
  if (name === "" || more.length > 0) throw new UserError(`${wanted}: write a pod, or KIND/NAME`);
  return [knownKind(kind).kind, name];
}

const is = (name: string, namespace: string, wanted: string): boolean =>
  wanted === name || wanted === `${name}.${namespace}`;

function one(pods: readonly PodStatus[], wanted: string, { pods: all }: PlatformStatus): Target["pods"] {
  const namespaces = [...new Set(pods.map((pod) => pod.namespace))];
  if (namespaces.length > 1)
    throw new UserError(
      `${wanted} is in several namespaces: say which with -n ${namespaces.join(" or -n ")}`,
    );
  const [first, ...rest] = pods.toSorted((a, b) => Number(b.ready) - Number(a.ready));
  if (first !== undefined) return [first, ...rest];
  const known = [...new Set(all.map((pod) => pod.name))];
  throw new UserError(
    `no pod or workload "${wanted}"; pods: ${known.length === 0 ? "none" : known.join(", ")}`,
  );
}
