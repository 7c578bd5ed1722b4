import { existsSync } from "node:fs";
import { isRunning, stopRunning } from "#local/index.ts";
import type { Command } from "../command.ts";
import { EXIT } from "../errors.ts";
import { forget, type KeptState, keptState, otherStates, purge, sizeOf } from "../kept-state.ts";
import { age } from "../object-tables.ts";

export const down: Command = {
  name: "down",
  summary: "Stop the mesh that `weft up` runs elsewhere on this machine, and tell what is kept",
  args: [],
  options: [
    {
      flags: "--purge",
      help: "also remove all that it keeps: its certificate authority, what was applied, volumes, traces, logs",
    },
  ],
  examples: ["weft down", "weft down --mesh shop", "weft down --mesh shop --purge"],
  notes:
    "docs/state.md says what the state directory holds. Without --purge nothing is lost: `weft up` goes on with it.",
  async run({ options, out, stateDir }) {
    const stopped = await stopRunning(stateDir);
    forget(stateDir);
    const state = keptState(stateDir);
    const purged = options["purge"] === true ? state : null;
    if (options["purge"] === true && existsSync(stateDir)) purge(stateDir);
    const kept = purged === null ? state : null;
    const others = otherStates(stateDir, isRunning);
    out.document({ stopped, kept, purged, others }, () =>
      [
        stopped ? "stopped" : "no mesh was running",
        ...(purged === null ? [] : [`removed ${told(purged)}`]),
        ...(options["purge"] === true && purged === null ? ["nothing was kept"] : []),
        ...(kept === null ? [] : [`kept ${told(kept)}`, `\`${command(kept)}\` removes it`]),
        ...unused(others),
      ].join("\n"),
    );
    return EXIT.ok;
  },
};

const told = ({ dir, bytes, holds }: KeptState): string => `${dir} (${sizeOf(bytes)}): ${holds.join(", ")}`;

const command = ({ mesh }: KeptState): string =>
  `npx weft down${mesh === "default" ? "" : ` --mesh ${mesh}`} --purge`;

function unused(others: readonly KeptState[]): string[] {
  if (others.length === 0) return [];
  const now = Date.now();
  const one = (o: KeptState): string =>
    `  ${o.mesh}: ${sizeOf(o.bytes)}, last used ${age(new Date(o.usedMs).toISOString(), now)} ago; \`${command(o)}\``;
  return ["other meshes of this machine that do not run:", ...others.map(one)];
}
