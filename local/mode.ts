import { PlatformError } from "./object.ts";

export type Mode = "explicit" | "transparent";

/** Which way traffic enters the proxies, and the reason, for people. */
export function chooseMode(wanted: Mode | "auto"): { mode: Mode; reason: string } {
  if (wanted === "explicit") return { mode: "explicit", reason: "asked for" };
  if (wanted === "transparent")
    throw new PlatformError(
      "transparent mode is not built into this version: use --mode explicit (apps reach services through HTTP_PROXY and loopback addresses)",
    );
  return { mode: "explicit", reason: "transparent mode is not built into this version" };
}
