/** What the supervisor of a mesh says and does: `<state>/platform.sock` (local/contract.ts). */
import { join } from "node:path";
import type { PlatformStatus } from "#local/contract.ts";
import { AdminClient } from "./admin-client.ts";

export function platformClient(stateDir: string): AdminClient {
  return new AdminClient(join(stateDir, "platform.sock"), "the supervisor of the mesh");
}

export function platformStatus(stateDir: string): Promise<PlatformStatus> {
  return platformClient(stateDir).get<PlatformStatus>("/status");
}
