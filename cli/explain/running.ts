/** What a proxy runs where that is not what the control plane means it to run: the newest was refused, or is under way. */
import type { StatusAnswer, XdsAnswer } from "#control-plane/admin/contract.ts";
import type { AdminClient } from "../admin-client.ts";
import type { Step } from "./contract.ts";

type Proxy = StatusAnswer["proxies"][number];

/** Changes that were saved just now get this long to arrive, in steps. */
const PATIENCE = { steps: 10, ms: 50 };

/** Null: the proxy has acknowledged the newest of everything. */
export async function lagOf(controlPlane: AdminClient, pod: string): Promise<Step | null> {
  for (let left = PATIENCE.steps; ; left--) {
    const { proxies } = await controlPlane.get<StatusAnswer>("/status");
    // Of several streams the last one is that of the process that runs.
    const proxy = proxies.findLast(({ nodeId }) => nodeId.split("~")[2] === pod);
    const late = proxy === undefined ? [] : lateTypes(proxy);
    if (late.length === 0) return null;
    if (left === 0 || late.some(([, { nack }]) => nack)) return lagStep(pod, late);
    await new Promise((resolve) => setTimeout(resolve, PATIENCE.ms));
  }
}

type Late = [url: string, type: Proxy["types"][string]];

function lateTypes({ types }: Proxy): Late[] {
  return Object.entries(types).filter(([, t]) => t.nack || t.acked !== t.sent || !t.upToDate);
}

function lagStep(pod: string, late: readonly Late[]): Step {
  const details = late.flatMap(([url, { nack, policies = [] }]) => {
    const type = url.slice(url.lastIndexOf(".") + 1);
    const text = nack ? `${type} refused: ${nack}` : `${type}: not acknowledged yet`;
    const places = policies.length === 0 ? [null] : policies;
    return places.map((place, i) => ({ text: i === 0 ? text : "or made of", place }));
  });
  const how = late.some(([, { nack }]) => nack) ? "has refused" : "has not acknowledged";
  const text = `the proxy of ${pod} ${how} its newest configuration: what it runs decides here`;
  return { kind: "config", ok: true, text, place: null, details };
}

type Json = Readonly<Record<string, unknown>>;

/** Envoy's config dump, or our sidecar's, as the resources that are in force. */
export function runningIn(dump: unknown): XdsAnswer {
  const wire: Record<string, unknown[]> = {};
  const add = (resource: unknown): void => {
    const type = (resource as Json | undefined)?.["@type"];
    if (typeof type === "string") wire[type] = [...(wire[type] ?? []), resource];
  };
  const list = (value: unknown): Json[] => (Array.isArray(value) ? value : []);
  for (const part of list((dump as Json)["configs"])) {
    for (const c of list(part["dynamic_active_clusters"])) add(c["cluster"]);
    for (const e of list(part["dynamic_endpoint_configs"])) add(e["endpoint_config"]);
    for (const l of list(part["dynamic_listeners"]))
      add((l["active_state"] as Json | undefined)?.["listener"]);
    for (const r of list(part["dynamic_route_configs"])) add(r["route_config"]);
  }
  return wire;
}
