/** What telemetry costs one HTTP request in the sidecar: the observer alone, called as the handler calls it. */

import { newHost } from "../sidecar/cluster/hosts.ts";
import { RequestState } from "../sidecar/http/request-state.ts";
import type { Exchange } from "../sidecar/http1/exchange.ts";
import { RequestHead } from "../sidecar/http1/request-head.ts";
import { HeadEdits } from "../sidecar/http1/write-head.ts";
import type { Accepted } from "../sidecar/inbound.ts";
import type { AccessLog, Cluster, HttpConfig, Listener, Snapshot, Tracing } from "../sidecar/snapshot.ts";
import { AccessLogBuffer } from "../sidecar/telemetry/access-log.ts";
import type { LogSinks } from "../sidecar/telemetry/log-sinks.ts";
import { MetricRegistry } from "../sidecar/telemetry/metrics.ts";
import { Telemetry } from "../sidecar/telemetry/observer.ts";
import { UNKNOWN_PEER } from "../sidecar/telemetry/peer.ts";
import { RequestMetrics } from "../sidecar/telemetry/request-metrics.ts";
import { SpanBuffer } from "../sidecar/telemetry/spans.ts";
import { parseTraceparent } from "../sidecar/telemetry/trace-context.ts";

const REQUESTS = 300_000;
const UNSAMPLED = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00\r\n";
const ID = "x-request-id: 8c8b12f9-188a-420e-9b2b-eae5adf9a513\r\n";

function tracing(percent: number): Tracing {
  return {
    clientSampling: 100,
    randomSampling: percent,
    overallSampling: 100,
    otlpCluster: "weft-otlp",
    otlpUrl: "http://weft-otlp/v1/traces",
    serviceName: "bench",
    customTags: [],
  };
}
const LOG: AccessLog = { kind: "stdout", path: "", text: null, json: null, onlyFlags: null };

function microseconds(headers: string, percent: number, logs: readonly AccessLog[]): number {
  const bytes = Buffer.from(
    `GET /bench HTTP/1.1\r\nhost: server:8080\r\nuser-agent: h2load\r\naccept: */*\r\n${headers}\r\n`,
  );
  const request = new RequestHead();
  request.reset(0);
  request.parse(bytes);
  const buffer = new AccessLogBuffer((_text, done) => done(false));
  const sinks = { of: () => buffer } as unknown as LogSinks;
  const metrics = new RequestMetrics(
    new MetricRegistry(),
    UNKNOWN_PEER,
    () => "",
    () => ({}) as Snapshot,
  );
  const telemetry = new Telemetry(metrics, new SpanBuffer(() => {}), sinks);
  const config = {
    generateRequestId: true,
    useRemoteAddress: false,
    preserveExternalRequestId: false,
    tracing: tracing(percent),
    accessLog: logs,
  } as unknown as HttpConfig;
  const accepted = {
    listener: { direction: "OUTBOUND" } as Listener,
    facts: { sourceAddress: "127.0.0.1", sourcePort: 1, peerIdentities: [] },
    chain: { tls: null },
  } as unknown as Accepted;
  const cluster = {
    name: "outbound|8080||server",
    istio: { services: [] },
    transportSocketMatches: [],
    transportSocket: null,
  } as unknown as Cluster;
  const host = newHost({ address: "10.0.0.1", port: 80, pipe: null });
  const edits = new HeadEdits();
  const run = (count: number): void => {
    for (let i = 0; i < count; i++) {
      edits.clear();
      const exchange = {
        request,
        requestEdits: edits,
        startMs: performance.now(),
        status: 200,
        detail: "via_upstream",
        verdict: 0,
        bytesReceived: 0,
        bytesSent: 5,
      } as unknown as Exchange;
      const state = new RequestState(null as unknown as Snapshot, config);
      state.cluster = cluster;
      state.host = host;
      telemetry.onHead(exchange, state, accepted);
      telemetry.onEnd(exchange, state, accepted);
    }
  };
  run(REQUESTS / 10);
  const before = process.cpuUsage();
  run(REQUESTS);
  const { user, system } = process.cpuUsage(before);
  return (user + system) / REQUESTS;
}

if (parseTraceparent(UNSAMPLED.slice(13, -2)) === null) throw new Error("the sample is no traceparent");
for (const [what, headers, percent, logs] of [
  ["root, not sampled", "", 0, []],
  ["root, 1 % sampled", "", 1, []],
  ["later hop, not sampled", ID + UNSAMPLED, 1, []],
  ["root, sampled", "", 100, []],
  ["later hop, sampled", ID + UNSAMPLED.replace(/00\r\n$/, "01\r\n"), 100, []],
  ["later hop, not sampled, access log", ID + UNSAMPLED, 1, [LOG]],
] as const)
  console.log(`${what.padEnd(36)} ${microseconds(headers, percent, logs).toFixed(2)} us per request`);
