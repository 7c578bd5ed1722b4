import { relative } from "node:path";
import type { PlatformStatus } from "#local/index.ts";
import type { Output } from "../output.ts";
import { table } from "../output.ts";
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
  const doors = status.hostPorts.map(({ port, service }) => [
    `  ${out.strong(`http://127.0.0.1:${port}${pageOf(objects, service)}`)}`,
    service,
  ]);
  const pods = [
    ["POD", "READY", "ADDRESS"],
    ...status.pods.map((pod) => [pod.name, pod.ready ? "yes" : "no", pod.podIp]),
  ];
  const workload =
    status.pods.find(({ containers }) => containers.length > 1)?.workload ?? status.pods[0]?.workload;
  const url = status.hostPorts[0];
  const next = [
    ["  npx weft status", "are all proxies in sync?"],
    ["  npx weft trace --last", "the last request"],
    ...(url === undefined
      ? []
      : [
          [
            `  npx weft explain GET http://127.0.0.1:${url.port}${pageOf(objects, url.service)}`,
            "every decision",
          ],
        ]),
    ...(workload === undefined ? [] : [[`  npx weft config ${workload} routes`, "what a proxy runs"]]),
  ].map(([command, what]) => [`${command}${flag}`, what!]);
  const applied = objects.applied();
  return [
    `The mesh runs: ${status.pods.length} ${status.pods.length === 1 ? "pod" : "pods"}. Mode ${status.mode}: ${status.reason}.`,
    ...(doors.length === 0 ? [] : ["", table(doors)]),
    "",
    table(pods),
    "",
    "Next, in another terminal:",
    table(next),
    "",
    ...(applied.length === 0
      ? []
      : [
          `Applied earlier, and before what the files say: ${applied.join(", ")}.`,
          `\`npx weft delete --all${flag}\` takes that back.`,
          "",
        ]),
    `Edit a file in ${paths.join(", ")}: the mesh follows. Logs: ${relativeOrFull(status.stateDir)}/pods/*/logs`,
  ].join("\n");
}

function relativeOrFull(path: string): string {
  const short = relative(process.cwd(), path);
  return short.startsWith("..") ? path : short;
}
