import { AdminClient } from "../admin-client.ts";
import type { Command } from "../command.ts";
import { EXIT } from "../errors.ts";
import { readMesh } from "../explain/mesh.ts";
import { renderExplanation } from "../explain/render.ts";
import { readRequest } from "../explain/request.ts";
import { explain as walk } from "../explain/walk.ts";

export const explain: Command = {
  name: "explain",
  summary: "Where would this request go, and why: every decision of every proxy, with file and line",
  args: [
    { name: "<method>", help: "GET, POST, ..." },
    { name: "<url>", help: "as the caller writes it: http://reviews:9080/reviews/0" },
  ],
  options: [
    { flags: "--from <workload>", help: "who calls: a pod, workload or app; without it, a client outside" },
    { flags: "-H, --header <header...>", help: '"name: value", as curl takes it' },
  ],
  examples: [
    "weft explain GET http://127.0.0.1:8080/productpage",
    "weft explain --from productpage GET http://reviews:9080/reviews/0 -H 'end-user: jason'",
    "weft explain --from productpage GET http://ratings:9080/ratings/0   # 403, and who denied",
  ],
  async run({ args, options, cwd, out, stateDir }) {
    const headers = options["header"];
    const request = readRequest(
      String(args[0]),
      String(args[1]),
      Array.isArray(headers) ? headers.map(String) : [],
    );
    const mesh = await readMesh(AdminClient.controlPlane(stateDir));
    const from = options["from"];
    const explanation = await walk(mesh, request, typeof from === "string" ? from : null);
    out.document(explanation, () => renderExplanation(explanation, cwd, out));
    return explanation.reached ? EXIT.ok : EXIT.failure;
  },
};
