import { readFileSync } from "node:fs";
import { AdminClient } from "../admin-client.ts";
import type { Command } from "../command.ts";
import { EXIT } from "../errors.ts";
import { platformPods } from "../pods.ts";

const PACKAGE = new URL("../../package.json", import.meta.url);

export const version: Command = {
  name: "version",
  summary: "Versions of this program and of the proxies that run",
  args: [],
  options: [],
  examples: ["weft version", "weft version -o json"],
  async run({ out, stateDir }) {
    const { version: client } = JSON.parse(readFileSync(PACKAGE, "utf8")) as { version: string };
    const proxies = await Promise.all(
      platformPods(stateDir).map(async ({ name }) => {
        const info = await AdminClient.proxy(stateDir, name)
          .get<{ version?: string }>("/server_info")
          .catch(() => null); // it starts, or has no proxy
        return { pod: name, version: info?.version ?? null };
      }),
    );
    out.result({ client, node: process.versions.node, proxies }, () => [
      ["WHAT", "VERSION"],
      ["weft", client],
      ["node", process.versions.node],
      ...proxies.map(({ pod, version }) => [pod, version ?? "does not answer"]),
    ]);
    return EXIT.ok;
  },
};
