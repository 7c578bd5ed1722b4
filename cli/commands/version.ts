import { readFileSync } from "node:fs";
import { AdminClient } from "../admin-client.ts";
import type { Command } from "../command.ts";
import { EXIT } from "../errors.ts";
import { platformPods } from "../pods.ts";

/** Envoy says `<commit>/1.40.0/Clean/RELEASE/BoringSSL`. */
function shortVersion(version: string | null): string {
  if (version === null) return "does not answer";
  const [, envoy] = /\/(\d+\.\d+\.\d+)\//.exec(version) ?? [];
  return envoy === undefined ? version : `${envoy} (Envoy)`;
}

/** Of this program. */
export const { version: VERSION } = JSON.parse(
  readFileSync(new URL("../../package.json", import.meta.url), "utf8"),
) as { version: string };

export const version: Command = {
  name: "version",
  summary: "Versions of this program and of the proxies that run",
  args: [],
  options: [],
  examples: ["weft version", "weft version -o json"],
  async run({ out, stateDir }) {
    const proxies = await Promise.all(
      platformPods(stateDir).map(async ({ name }) => {
        const info = await AdminClient.proxy(stateDir, name)
          .get<{ version?: string }>("/server_info")
          .catch(() => null); // it starts, or has no proxy
        return { pod: name, version: info?.version ?? null };
      }),
    );
    out.result({ client: VERSION, node: process.versions.node, proxies }, () => [
      ["WHAT", "VERSION"],
      ["weft", VERSION],
      ["node", process.versions.node],
      ...proxies.map(({ pod, version }) => [pod, shortVersion(version)]),
    ]);
    return EXIT.ok;
  },
};
