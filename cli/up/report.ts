import { relative } from "node:path";
import type { PlatformStatus } from "#local/index.ts";
import type { Output } from "../output.ts";
import { hang } from "../text.ts";
import type { PlatformObjects } from "./objects.ts";

/** The page of a door, for people to click: Service annotation `weft.dev/page`. */
function pageOf(objects: PlatformObjects, service: string): string {
  const found = objects
    .read()
    .find(
      ({ kind, metadata }) =>
        kind === "Service" && `${metadata.namespace ?? "default"}/${metadata.name}` === service,
    );
  return found?.metadata.annotations?.["weft.dev/page"] ?? "/";
}

/** What a person reads when the mesh is ready. */
export function reportReady(
  status: PlatformStatus,
  objects: PlatformObjects,
  paths: readonly string[],
  mesh: string,
  out: Output,
): string {
  const flag = mesh === "default" ? "" : ` --mesh ${mesh}`;
  const width = Math.min(out.columns, WIDEST);
  const doors = status.hostPorts.map(({ port, service }) => [
    `http://127.0.0.1:${port}${pageOf(objects, service)}`,
    service,
  ]);
  const workload =
    status.pods.find(({ containers }) => containers.length > 1)?.workload ?? status.pods[0]?.workload;
  const next: [what: string, command: string][] = [
    ["the pods", `weft get pods`],
    ["are all proxies in sync?", "weft status"],
    ["the last request", "weft trace --last"],
    ...(doors.length === 0 ? [] : [["every decision", `weft explain ${doors[0]![0]}`] as [string, string]]),
    ...(workload === undefined
      ? []
      : [["what a proxy runs", `weft config ${workload} routes`] as [string, string]]),
  ];
  const applied = objects.applied();
  const pods = `${status.pods.length} ${status.pods.length === 1 ? "pod" : "pods"}`;
  return [
    hang(`The mesh runs: ${pods}, ${status.mode} mode (${status.reason}).`, width, 0),
    ...(doors.length === 0 ? [] : ["", ...doors.map(([url, of]) => `  ${out.strong(url!)}   ${of}`)]),
    "",
    "Next, in another terminal:",
    ...next.map(([what, command]) => `  ${`npx ${command}${flag}`.padEnd(width - 30)}  ${out.dim(what)}`),
    "",
    ...(applied.length === 0
      ? []
      : [
          hang(`Applied earlier, and before what the files say: ${applied.join(", ")}.`, width, 0),
          `\`npx weft delete --all${flag}\` takes that back.`,
          "",
        ]),
    hang(`Edit a file in ${paths.join(", ")}: the mesh follows.`, width, 0),
    `Logs: ${relativeOrFull(status.stateDir)}/pods/*/logs`,
  ].join("\n");
}

/** Of text for people: longer lines are hard to read on a wide terminal. */
const WIDEST = 80;

function relativeOrFull(path: string): string {
  const short = relative(process.cwd(), path);
  return short.startsWith("..") ? path : short;
}
