import type { WorkloadIr } from "#ir/index.ts";
import { writeClusters } from "./clusters.ts";
import type { WriteContext } from "./context.ts";
import { writeListeners } from "./listeners.ts";
import type { Resource } from "./resource.ts";
import { writeRoutes } from "./routes.ts";

export type { WriteContext } from "./context.ts";
export { clusterName } from "./context.ts";
export { writeEndpoints } from "./endpoints.ts";
export { type Resource, registry } from "./resource.ts";

/** Everything of one proxy but its endpoints, which proxies share (writeEndpoints). Pure. */
export function write(ir: WorkloadIr, context: WriteContext): Resource[] {
  return [...writeClusters(ir, context), ...writeListeners(ir, context), ...writeRoutes(ir)];
}
