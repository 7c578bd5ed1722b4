/** Envoy's access log commands (docs: "Command Operators"), each resolved once, when the listener arrives. */
import { hostname } from "node:os";
import { remoteAddress } from "../http/remote-address.ts";
import type { HeadView } from "../snapshot.ts";
import { addressOf, type RecordField, type RequestRecord } from "./record.ts";

const UPSTREAM_TIME = "x-envoy-upstream-service-time";

/** `responseHeaders` collects the names of response headers that the field will need. */
export function compileField(command: string, argument: string, responseHeaders: string[]): RecordField {
  if (command === "REQ") return either(argument, requestField);
  if (command === "RESP" || command === "RESPONSE_HEADER")
    return either(argument, (name) => responseField(name, responseHeaders));
  if (command === "START_TIME") return startTime(argument);
  return FIELDS[command] ?? NOTHING;
}

/** `NAME?OTHER`: the first that has a value. */
function either(argument: string, make: (lowerName: string) => RecordField): RecordField {
  const [first = NOTHING, second] = argument.split("?").map((name) => make(name.toLowerCase()));
  return second === undefined ? first : (record, head) => first(record, head) ?? second(record, head);
}

function requestField(name: string): RecordField {
  switch (name) {
    case ":method":
      return (record) => record.method || null;
    case ":path":
      return (record) => record.path || null;
    case ":authority":
    case "host":
      return (record) => record.authority || null;
    case ":scheme":
      return (record) => record.scheme;
    case "x-request-id":
      return (record) => record.requestId || null;
    default:
      return (_record, head) => head?.get(name) ?? null;
  }
}

function responseField(name: string, collected: string[]): RecordField {
  if (name === ":status") return (record) => String(record.status);
  if (name === UPSTREAM_TIME)
    return (record) => (record.upstreamMs < 0 ? null : String(Math.round(record.upstreamMs)));
  let at = collected.indexOf(name);
  if (at === -1) at = collected.push(name) - 1;
  return (record) => record.responseValues[at] ?? null;
}

/** Without argument ISO 8601 in ms, as Envoy; `%s` and `%s.%3f` seconds; other strftime patterns print the former. */
function startTime(argument: string): RecordField {
  if (argument === "%s") return (record) => String(Math.floor(record.startMs / 1000));
  if (argument === "%s.%3f") return (record) => (record.startMs / 1000).toFixed(3);
  return (record) => new Date(record.startMs).toISOString();
}

const NOTHING: RecordField = () => null;
const FIELDS: Readonly<Record<string, RecordField>> = {
  PROTOCOL: (r) => r.protocol || null,
  RESPONSE_CODE: (r) => String(r.status),
  RESPONSE_FLAGS: (r) => r.flag,
  RESPONSE_CODE_DETAILS: (r) => r.detail.replaceAll(" ", "_") || null,
  CONNECTION_TERMINATION_DETAILS: (r) => r.termination || null,
  UPSTREAM_TRANSPORT_FAILURE_REASON: (r) => r.failure || null,
  BYTES_RECEIVED: (r) => String(r.bytesReceived),
  BYTES_SENT: (r) => String(r.bytesSent),
  DURATION: (r) => String(Math.round(r.durationMs)),
  RESPONSE_DURATION: (r) => (r.upstreamMs < 0 ? null : String(Math.round(r.upstreamMs))),
  UPSTREAM_HOST: (r) => (r.host === null ? null : addressOf(r.host)),
  UPSTREAM_REMOTE_ADDRESS: (r) => (r.host === null ? null : addressOf(r.host)),
  UPSTREAM_CLUSTER: (r) => (r.cluster === "" ? null : `${r.cluster};`),
  UPSTREAM_CLUSTER_RAW: (r) => r.cluster || null,
  UPSTREAM_LOCAL_ADDRESS: (r) => r.upstreamLocal || null,
  DOWNSTREAM_LOCAL_ADDRESS: (r) => `${r.facts.destinationAddress}:${r.facts.destinationPort}`,
  DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT: (r) => r.facts.destinationAddress,
  DOWNSTREAM_LOCAL_PORT: (r) => String(r.facts.destinationPort),
  DOWNSTREAM_REMOTE_ADDRESS: (r, head) => {
    const client = clientOf(r, head);
    return `${client}:${client === r.facts.sourceAddress ? r.facts.sourcePort : 0}`;
  },
  DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT: clientOf,
  DOWNSTREAM_DIRECT_REMOTE_ADDRESS: (r) => `${r.facts.sourceAddress}:${r.facts.sourcePort}`,
  DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT: (r) => r.facts.sourceAddress,
  DOWNSTREAM_PEER_URI_SAN: (r) => r.facts.peerIdentities.join(",") || null,
  REQUESTED_SERVER_NAME: (r) => r.facts.serverName || null,
  ROUTE_NAME: (r) => r.route || null,
  TRACE_ID: (r) => r.traceId || null,
  HOSTNAME: () => hostname(),
};

/** The peer, or whom X-Forwarded-For names in its place; that one has no port (Envoy prints 0). */
function clientOf({ plan, facts }: RequestRecord, head: HeadView | null): string {
  return head === null || plan === null
    ? facts.sourceAddress
    : remoteAddress(head, plan.config, facts.sourceAddress);
}
