import { setTimeout as delay } from "node:timers/promises";
import type { TraceAnswer, TraceSummaryAnswer, TracesAnswer } from "#control-plane/admin/contract.ts";
import { AdminClient } from "../admin-client.ts";
import type { Command, Input } from "../command.ts";
import { EXIT, UserError } from "../errors.ts";
import { requestOf, waterfall } from "../waterfall.ts";

export const trace: Command = {
  name: "trace",
  summary: "The last requests through the mesh, or the waterfall of one",
  args: [{ name: "[id]", help: "a trace id or its beginning; without it, the list", values: "trace" }],
  options: [
    { flags: "--last", help: "the waterfall of the newest request" },
    {
      flags: "--service <name>",
      help: "only requests that passed this service (app.namespace)",
      values: "service",
    },
    { flags: "-l, --limit <count>", help: "how many are listed", default: "20" },
  ],
  examples: ["weft trace", "weft trace --last", "weft trace 576e12", "weft trace --service ratings.default"],
  async run({ args, options, out, stateDir }) {
    const admin = AdminClient.controlPlane(stateDir);
    const limit = Number(options["limit"]);
    if (!Number.isInteger(limit) || limit < 1 || limit > 1000)
      throw new UserError(`--limit: ${String(options["limit"])} is no number from 1 to 1000`, EXIT.usage);
    const service = options["service"];
    const query = typeof service === "string" ? `&service=${encodeURIComponent(service)}` : "";
    const wanted = typeof args[0] === "string" ? args[0].toLowerCase() : null;
    const most = wanted === null ? (options["last"] === true ? 1 : limit) : 1000;
    const list = `/traces?limit=${most}${query}`;
    let { traces } = await admin.get<TracesAnswer>(list);
    const waited = wanted === null && (await untilComplete(traces[0], out));
    if (wanted === null && options["last"] !== true) {
      if (waited) traces = (await admin.get<TracesAnswer>(list)).traces;
      const rows = await Promise.all(traces.map((summary) => line(admin, summary)));
      out.result({ traces }, () =>
        rows.length === 0
          ? [["no request has been traced yet"]]
          : [["TIME", "TRACE", "REQUEST", "STATUS", "ENTERED AT", "TOOK", "SPANS", "ERROR"], ...rows],
      );
      return EXIT.ok;
    }
    const found = wanted === null ? traces : traces.filter(({ traceId }) => traceId.startsWith(wanted));
    const [first, second] = found;
    if (first === undefined)
      throw new UserError(
        wanted === null
          ? "no request has been traced yet"
          : `no trace ${wanted} is kept; weft trace lists them`,
      );
    if (second !== undefined && wanted !== null)
      throw new UserError(`${wanted} is the beginning of ${found.length} traces: write more of it`);
    const { spans } = await admin.get<TraceAnswer>(`/traces/${first.traceId}`);
    const { request, status } = requestOf(spans);
    const head = `${request}  ${status}  ${Math.round(first.durationMs)} ms  ${spans.length} spans  ${time(first.startMs)}  ${first.traceId}`;
    out.document({ traceId: first.traceId, spans }, () =>
      [out.strong(head), "", ...waterfall(spans, out.columns, out.bad)].join("\n"),
    );
    return EXIT.ok;
  },
};

/** Proxies send spans twice a second: of a request that has just ended some are still on their way. */
const ON_THE_WAY_MS = 1000;

async function untilComplete(trace: TraceSummaryAnswer | undefined, out: Input["out"]): Promise<boolean> {
  if (trace === undefined) return false;
  const left = trace.startMs + trace.durationMs + ON_THE_WAY_MS - Date.now();
  if (left <= 0) return false;
  out.progress("the last spans are on their way");
  await delay(Math.min(left, ON_THE_WAY_MS)); // a clock may be wrong
  out.progress("");
  return true;
}

async function line(admin: AdminClient, summary: TraceSummaryAnswer): Promise<string[]> {
  // A trace may be dropped between the two questions.
  const answer = await admin.get<TraceAnswer>(`/traces/${summary.traceId}`).catch(() => null);
  const { request, status } =
    answer === null ? { request: summary.root, status: "" } : requestOf(answer.spans);
  return [
    time(summary.startMs),
    summary.traceId.slice(0, 12),
    request,
    status,
    summary.service,
    `${summary.durationMs < 100 ? summary.durationMs.toFixed(1) : Math.round(summary.durationMs)} ms`,
    String(summary.spans),
    summary.error ? "yes" : "no",
  ];
}

const time = (ms: number): string => new Date(ms).toTimeString().slice(0, 8);
