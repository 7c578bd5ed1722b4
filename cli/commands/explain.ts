import type { Command } from "../command.ts";
import { EXIT } from "../errors.ts";

export const explain: Command = {
  name: "explain",
  summary: "What happens to a request, step by step, and why: route, mTLS, authorization, with file and line",
  args: [{ name: "<request...>", help: "[METHOD] URL, or tcp://host:port" }],
  options: [
    {
      flags: "--from <workload>",
      help: "who asks: a workload, a pod, or gateway (default: a client outside, at a gateway)",
      values: "workload",
    },
    { flags: "-H, --header <field...>", help: 'a request header, "name: value"' },
  ],
  examples: [
    "weft explain GET http://127.0.0.1:8080/productpage",
    "weft explain --from productpage GET http://reviews:9080/reviews/0 -H 'end-user: jason'",
    "weft explain --from details http://ratings:9080/ratings/0 -o json",
    "weft explain --from ratings tcp://mongodb:27017",
  ],
  notes:
    "Nothing is sent. The steps are decided by the proxy's own code over the configuration that each proxy has.\nExit code 0: the request reaches the app. 1: it does not, or not always.",
  async run({ args, options, out, stateDir, cwd }) {
    // Only now: this is the proxy's code and every xDS type, half of what any command would take to start.
    const { walk, parseRequest, show, MeshView } = await import("../explain/index.ts");
    const asked = parseRequest(args[0] as readonly string[], listOption(options["header"]));
    const from = options["from"];
    const explanation = await walk(
      await MeshView.of(stateDir),
      asked,
      typeof from === "string" ? from : null,
    );
    out.document(explanation, () => show(explanation, out, cwd));
    return explanation.verdict.reachesApp ? EXIT.ok : EXIT.failure;
  },
};

function listOption(value: unknown): readonly string[] {
  return Array.isArray(value) ? (value as string[]) : [];
}
