import { AdminClient } from "../admin-client.ts";
import type { Command } from "../command.ts";
import { EXIT } from "../errors.ts";

interface Listed {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  readonly source: { readonly file: string; readonly line: number };
}

export const get: Command = {
  name: "get",
  summary: "The objects the mesh runs on, and the file and line each comes from",
  args: [
    { name: "[kind]", help: "VirtualService, Service, AuthorizationPolicy, ..." },
    { name: "[name]", help: "the object's name" },
  ],
  options: [{ flags: "-n, --namespace <name>", help: "only this namespace" }],
  examples: [
    "weft get",
    "weft get VirtualService reviews -o yaml",
    "weft get AuthorizationPolicy -n default",
  ],
  async run({ args, options, out, stateDir }) {
    const query = new URLSearchParams();
    if (typeof args[0] === "string") query.set("kind", args[0]);
    if (typeof args[1] === "string") query.set("name", args[1]);
    if (typeof options["namespace"] === "string") query.set("namespace", options["namespace"]);
    const path = query.size === 0 ? "/objects" : `/objects?${query}`;
    const answer = await AdminClient.controlPlane(stateDir).get<{ objects: readonly Listed[] }>(path);
    out.result(answer, () => [
      ["KIND", "NAMESPACE", "NAME", "SOURCE"],
      ...answer.objects.map((o) => [o.kind, o.namespace, o.name, `${o.source.file}:${o.source.line}`]),
    ]);
    return EXIT.ok;
  },
};
