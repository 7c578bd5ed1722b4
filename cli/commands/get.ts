import type { ListedObject, ObjectsAnswer } from "#control-plane/admin/contract.ts";
import { AdminClient } from "../admin-client.ts";
import type { Command } from "../command.ts";
import { EXIT, UserError } from "../errors.ts";
import { kindOf, SHORT_NAMES } from "../kind-names.ts";
import { podRow } from "../pods.ts";

export const get: Command = {
  name: "get",
  summary:
    "The objects the mesh runs on, and the file and line each comes from; pods with state and restarts",
  args: [
    {
      name: "[kind]",
      help: "VirtualService, Service, pods, ... as kubectl takes them: vs, svc",
      values: "kind",
    },
    { name: "[name]", help: "the object's name", values: "object" },
  ],
  options: [{ flags: "-n, --namespace <name>", help: "only this namespace", values: "namespace" }],
  examples: [
    "weft get",
    "weft get pods",
    "weft get VirtualService reviews -o yaml",
    "weft get AuthorizationPolicy -n default",
  ],
  notes: `Short names: ${Object.entries(SHORT_NAMES)
    .map(([short, kind]) => `${short} ${kind}`)
    .join(", ")}`,
  async run({ args, options, out, stateDir }) {
    const query = new URLSearchParams();
    const kind = typeof args[0] === "string" ? kindOf(args[0]) : null;
    if (kind !== null) query.set("kind", kind);
    if (typeof args[1] === "string") query.set("name", args[1]);
    if (typeof options["namespace"] === "string") query.set("namespace", options["namespace"]);
    const path = query.size === 0 ? "/objects" : `/objects?${query}`;
    const answer = await AdminClient.controlPlane(stateDir).get<ObjectsAnswer>(path);
    if (typeof args[1] === "string" && answer.objects.length === 0)
      throw new UserError(`no ${kind} "${args[1]}"; weft get ${args[0]} lists what there is`);
    out.result(answer, () => (kind === "Pod" ? podRows(answer.objects) : rows(answer.objects)));
    return EXIT.ok;
  },
};

function rows(objects: readonly ListedObject[]): string[][] {
  return [
    ["KIND", "NAMESPACE", "NAME", "SOURCE"],
    ...objects.map((o) => [o.kind, o.namespace, o.name, `${o.source.file}:${o.source.line}`]),
  ];
}

function podRows(objects: readonly ListedObject[]): string[][] {
  return [
    ["NAMESPACE", "NAME", "READY", "RESTARTS", "IP", "WORKLOAD"],
    ...objects
      .map((o) => podRow(o.object as unknown as Parameters<typeof podRow>[0]))
      .map((p) => [p.namespace, p.name, p.ready ? "yes" : "no", String(p.restarts), p.ip, p.workload]),
  ];
}
