import { setTimeout as delay } from "node:timers/promises";
import type {
  ObjectsAnswer,
  TraceAnswer,
  TraceSummaryAnswer,
  TracesAnswer,
  WorkloadsAnswer,
} from "#control-plane/admin/contract.ts";
import { AdminClient } from "../admin-client.ts";
import type { Command, Input } from "../command.ts";
import { EXIT, UserError } from "../errors.ts";
import { tracedServices } from "../traced-services.ts";
import { requestOf, waterfall } from "../waterfall.ts";

export const trace: Command = {
  name: "trace",
  summary: "The last requests through the mesh, or the waterfall of one",
  args: [{ name: "[id]", help: "a trace id or its beginning; without it, the list", values: "trace" }],
  options: [
    { flags: "--last", help: "the waterfall of the newest request" },
    {
      flags: "--service <name>",
      help: "only requests that passed this service: its name in any spelling, or a workload",
      values: "service",
    },
    { flags: "-l, --limit <count>", help: "how many are listed", default: "20" },
  ],
  examples: [
    "weft trace",
    "weft trace --last",
    "weft trace 576e12",
    "weft trace --service ratings",
    "weft trace --last --service ratings.default.svc.cluster.local",
  ],
  async run({ args, options, out, stateDir }) {
    const admin = AdminClient.controlPlane(stateDir);
    const limit = Number(options["limit"]);
    if (!Number.isInteger(limit) || limit < 1 || limit > 1000)
      throw new UserError(`--limit: ${String(options["limit"])} is no number from 1 to 1000`, EXIT.usage);
    const services = await servicesNamed(admin, options["service"]);
    if (typeof args[0] === "string") return show(await named(admin, args[0].toLowerCase()), admin, out);
    const one = options["last"] === true;
    const traces = await latest(admin, one ? 1 : limit, services, out);
    if (one) return show(traces[0], admin, out);
    const rows = traces.map(line);
    const summaries = traces.map(({ whole: _, ...summary }) => summary);
    out.result({ traces: summaries }, () =>
      rows.length === 0
        ? [[NONE]]
        : [["TIME", "TRACE", "REQUEST", "STATUS", "ENTERED AT", "TOOK", "SPANS", "ERROR"], ...rows],
    );
    return EXIT.ok;
  },
};

const NONE = "no request has been traced yet";

/** The query for a service in any spelling; a name that nothing has is an error that says which there are. */
async function servicesNamed(admin: AdminClient, wanted: unknown): Promise<string> {
  if (typeof wanted !== "string") return "";
  const { services: traced } = await admin.get<TracesAnswer>("/traces?limit=1");
  const { workloads } = await admin.get<WorkloadsAnswer>("/workloads");
  const { objects } = await admin.get<ObjectsAnswer>("/objects?kind=Service");
  const names = tracedServices(wanted, traced, workloads, objects);
  if (names.length === 0)
    throw new UserError(
      traced.length === 0
        ? NONE
        : `no request of "${wanted}" has been traced; there are requests of ${traced.join(", ")}`,
    );
  return names.map((name) => `&service=${encodeURIComponent(name)}`).join("");
}

async function named(admin: AdminClient, beginning: string): Promise<TraceSummaryAnswer> {
  const { traces } = /^[0-9a-f]+$/.test(beginning)
    ? await admin.get<TracesAnswer>(`/traces?limit=1000&id=${beginning}`)
    : { traces: [] };
  const [first, second] = traces;
  if (first === undefined) throw new UserError(`no trace ${beginning} is kept; weft trace lists them`);
  if (second !== undefined)
    throw new UserError(`${beginning} is the beginning of ${traces.length} traces: write more of it`);
  return first;
}

async function show(
  first: TraceSummaryAnswer | undefined,
  admin: AdminClient,
  out: Input["out"],
): Promise<number> {
  if (first === undefined) throw new UserError(NONE);
  const { spans } = await admin.get<TraceAnswer>(`/traces/${first.traceId}`);
  const { request, status } = requestOf(spans);
  const head = `${request}  ${status}  ${Math.round(first.durationMs)} ms  ${spans.length} spans  ${time(first.startMs)}  ${first.traceId}`;
  out.document({ traceId: first.traceId, spans }, () =>
    [out.strong(head), "", ...waterfall(spans, out.columns, out.bad)].join("\n"),
  );
  return EXIT.ok;
}

/** Proxies send spans twice a second: of a request that has just ended some are still on their way. */
const ON_THE_WAY_MS = 1000;
/** This many requests on their way are load that goes on: one before them serves as well, and is complete at once. */
const BUSY = 5;

async function latest(
  admin: AdminClient,
  limit: number,
  services: string,
  out: Input["out"],
): Promise<readonly TraceSummaryAnswer[]> {
  const list = async (more: string): Promise<readonly TraceSummaryAnswer[]> =>
    (await admin.get<TracesAnswer>(`/traces?limit=${limit}&whole=true${services}${more}`)).traces;
  const settled = Date.now() - ON_THE_WAY_MS;
  const query = `/traces?limit=${BUSY}&since=${settled}${services}`;
  const { traces: fresh } = await admin.get<TracesAnswer>(query);
  if (fresh.length === BUSY) {
    const before = await list(`&until=${settled}`);
    if (before.length > 0) return before;
  }
  const traces = await list("");
  const waited = await untilComplete(traces[0], out);
  return waited && limit > 1 ? list("") : traces;
}

async function untilComplete(trace: TraceSummaryAnswer | undefined, out: Input["out"]): Promise<boolean> {
  if (trace === undefined) return false;
  const left = trace.startMs + trace.durationMs + ON_THE_WAY_MS - Date.now();
  if (left <= 0) return false;
  out.progress("the last spans are on their way");
  await delay(Math.min(left, ON_THE_WAY_MS)); // a clock may be wrong
  out.progress("");
  return true;
}

function line(summary: TraceSummaryAnswer): string[] {
  const { request, status } = requestOf(summary.whole ?? []);
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
