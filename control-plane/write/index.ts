import type { WorkloadIr } from "#ir/index.ts";
import { writeClusters } from "./clusters.ts";
import type { WriteContext } from "./context.ts";
import { writeListeners } from "./listeners.ts";
import { writeRoutes } from "./routes.ts";
import { Writing } from "./unwritten.ts";

export type { WriteContext } from "./context.ts";
export { clusterName } from "./context.ts";
export { writeEndpoints } from "./endpoints.ts";
export { type Resource, registry } from "./resource.ts";
export { withFormerHost } from "./routes.ts";
export { type Unwritten, Writing } from "./unwritten.ts";

/** Everything of one proxy but its endpoints, which proxies share (writeEndpoints). Pure. */
export function write(ir: WorkloadIr, context: WriteContext): Writing {
  const writing = new Writing();
  writeClusters(ir, context, writing);
  writeListeners(ir, context, writing);
  writeRoutes(ir, writing);
  return writing;
}
