import type { MeshNetwork } from "./network/network.ts";
import { openNetwork } from "./network/network.ts";
import { PlatformError } from "./object.ts";

export type Mode = "explicit" | "transparent";

export interface Chosen {
  readonly mode: Mode;
  /** For people. */
  readonly reason: string;
  /** Transparent only. */
  readonly network: MeshNetwork | null;
}

const IN_EXPLICIT = "apps reach services through HTTP_PROXY and loopback addresses";

/** Which way traffic enters the proxies. Transparent is not guessed at but made; what stands in its way is the reason. */
export async function chooseMode(wanted: Mode | "auto", stateDir: string): Promise<Chosen> {
  if (wanted === "explicit") return { mode: "explicit", reason: "asked for", network: null };
  const network = await openNetwork(stateDir);
  if (!("obstacle" in network)) {
    const reason = wanted === "auto" ? "this machine gives network namespaces" : "asked for";
    return { mode: "transparent", reason, network };
  }
  if (wanted === "transparent")
    throw new PlatformError(
      `transparent mode is not possible: ${network.obstacle}; or use --mode explicit (${IN_EXPLICIT})`,
    );
  return { mode: "explicit", reason: `no transparent mode: ${network.obstacle}`, network: null };
}
