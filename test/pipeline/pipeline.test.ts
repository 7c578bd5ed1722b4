import { fromBinary, type JsonObject, type JsonValue, toJson } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { stringify } from "yaml";
import { registry } from "#control-plane/write/index.ts";
import { buildWorld, type World } from "#policies/index.ts";
import { ConfigStore } from "#sidecar/config/store.ts";
import { type Decision, decide } from "#sidecar/decide.ts";
import type { ConnectionFacts, HeadView, Snapshot } from "#sidecar/snapshot.ts";
import { expectGolden, expectNoOrphans } from "#test/harness/golden.ts";
import { type PackedResource, type ResourceSet, TYPE } from "#xds/index.ts";
import { cases, folder, readWorld, resourcesOf, SUFFIX } from "./case.ts";

const FILES = [
  [TYPE.listener, ".lds.yaml"],
  [TYPE.route, ".rds.yaml"],
  [TYPE.cluster, ".cds.yaml"],
  [TYPE.endpoints, ".eds.yaml"],
] as const;

test.each(cases)("%s: resources and decisions", (name) => {
  const { text, world } = readWorld(name);
  const questions = [...text.matchAll(/^# ask (.+)$/gm)].map((m) => parse(m[1]!));
  expect(questions, `${name}: at least one "# ask POD: ..."`).not.toEqual([]);
  const subject = questions[0]!.pod;
  const set = resourcesOf(world, subject, "envoy-stock");
  const plain = resourcesOf(withoutPolicies(world), subject, "envoy-stock");
  for (const [type, file] of FILES) {
    const changed = [...(set.get(type)?.values() ?? [])].flatMap((r) =>
      difference(r, plain.get(type)?.get(r.name)),
    );
    const yaml =
      changed.length === 0 ? "" : stringify(changed, { lineWidth: 130, aliasDuplicateObjects: false });
    expectGolden(folder, `${name}${file}`, yaml);
  }
  const lines = questions.map((q) => `${q.text}\n  -> ${say(answer(world, q), world)}`);
  expectGolden(folder, `${name}.decisions.txt`, lines.join("\n"));
});

test("no orphans", () => {
  expectNoOrphans(folder, SUFFIX, [...FILES.map(([, file]) => file), ".decisions.txt"]);
});

function withoutPolicies(world: World): World {
  const kept = new Set(["/Pod", "/Service"]);
  const base = world.objects.filter((o) => kept.has(o.key) && o.source.file === "base.yaml");
  return buildWorld(base, world.mesh);
}
/** What the case changes: the resource without boilerplate; of a route table only the hosts that changed. */
function difference(now: PackedResource, before: PackedResource | undefined): JsonValue[] {
  if (before?.version === now.version) return [];
  const json = shown(now);
  const old = before === undefined ? {} : shown(before);
  for (const list of ["virtual_hosts", "filter_chains"]) {
    if (!Array.isArray(json[list])) continue;
    const same = new Set(((old[list] ?? []) as JsonValue[]).map((x) => JSON.stringify(x)));
    json[list] = json[list].filter((x) => !same.has(JSON.stringify(x)) && !isCatchAll(x));
  }
  return [json];
}

/** The chains of ports that nobody declared repeat the filters of the declared ones. */
function isCatchAll(chain: JsonValue): boolean {
  return String((chain as JsonObject).name).startsWith("virtualInbound");
}

const BOILERPLATE = new Set(
  `@type alt_stat_name circuit_breakers connect_timeout common_lb_config upstream_bind_config eds_cluster_config
  tracing upgrade_configs stream_idle_timeout normalize_path path_with_escaped_slashes_action proxy_100_continue
  request_id_extension server_name forward_client_cert_details set_current_client_cert_details use_remote_address
  listener_filters listener_filters_timeout continue_on_listener_filters_timeout traffic_direction stat_prefix
  max_connections_to_accept_per_socket_event validate_clusters ignore_port_in_host_matching retry_policy decorator
  max_direct_response_body_size_bytes include_request_attempt_count max_grpc_timeout max_stream_duration metadata
  shadow_rules_stat_prefix transport_socket_connect_timeout health_status`.split(/\s+/),
);

function shown(r: PackedResource): JsonObject {
  const schema = registry.getMessage(r.any.typeUrl.slice(r.any.typeUrl.indexOf("/") + 1))!;
  const json = toJson(schema, fromBinary(schema, r.any.value), { registry, useProtoFieldName: true });
  return brief(json) as JsonObject;
}

function brief(value: JsonValue): JsonValue {
  if (Array.isArray(value)) return value.map(brief).filter((v) => !isPlainFilter(v));
  if (typeof value !== "object" || value === null) return value;
  const out: JsonObject = {};
  for (const [key, v] of Object.entries(value)) {
    if (key === "transport_socket" || key === "transport_socket_matches") out[key] = tls(v);
    else if (key === "metadata" && sourceOf(v) !== null) out.source = sourceOf(v);
    else if (!BOILERPLATE.has(key)) out[key] = brief(v);
  }
  return out;
}

/** A filter without configuration of its own stands in every chain. */
function isPlainFilter(v: JsonValue): boolean {
  const { name, typed_config: config, ...rest } = (v ?? {}) as JsonObject;
  return (
    typeof name === "string" &&
    /^envoy\.filters\.http\.(grpc_stats|fault|cors|router)$/.test(name) &&
    Object.keys(rest).length === 0 &&
    (config === undefined || Object.keys(config as JsonObject).every((k) => k === "emit_filter_state"))
  );
}

function tls(v: JsonValue): JsonValue {
  const text = JSON.stringify(v);
  const sni = /"sni":"([^"]*)"/.exec(text)?.[1];
  const sans = [...text.matchAll(/"(?:exact|prefix)":"(spiffe:[^"]*)"/g)].map((m) => m[1]!);
  return `${Array.isArray(v) ? "mTLS where the endpoint has it" : "TLS"}${sni === undefined ? "" : `, sni ${sni}`}, peer ${sans.join(" ") || "any"}`;
}

function sourceOf(v: JsonValue): string | null {
  const found = /"source":"([^"]*)"/.exec(JSON.stringify(v));
  return found === null ? null : found[1]!;
}

interface Question {
  readonly text: string;
  readonly pod: string;
  readonly inboundPort: number | null;
  /** Service account of the peer; null = plaintext. */
  readonly peer: string | null;
  readonly method: string | null;
  readonly host: string;
  readonly port: number;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
}

/** `POD: METHOD host[:port]/path h=v` leaves POD; `POD:PORT from ACCOUNT|plaintext: METHOD /path h=v` arrives there. */
function parse(text: string): Question {
  const out =
    /^([\w-]+)(?::(\d+) from ([\w-]+))?: (?:([A-Z]+) )?([\w.*-]*)(?::(\d+))?(\/\S*)?((?: \S+=\S+)*)$/.exec(
      text,
    );
  if (out === null) throw new Error(`a question that cannot be read: ${text}`);
  const [, pod = "", inbound, peer, method = null, host = "", port = "80", path = "/", headers = ""] = out;
  return {
    text,
    pod,
    inboundPort: inbound === undefined ? null : Number(inbound),
    peer: peer === undefined || peer === "plaintext" ? null : peer,
    method,
    host,
    port: Number(port),
    path,
    headers: Object.fromEntries(
      headers
        .trim()
        .split(" ")
        .filter(Boolean)
        .map((h) => h.split("=") as [string, string]),
    ),
  };
}

const snapshots = new WeakMap<World, Map<string, Snapshot>>();
function snapshotOf(world: World, pod: string): Snapshot {
  const byPod = snapshots.get(world) ?? new Map<string, Snapshot>();
  snapshots.set(world, byPod);
  const known = byPod.get(pod);
  if (known !== undefined) return known;
  const set: ResourceSet = resourcesOf(world, pod, "weft");
  const store = new ConfigStore();
  for (const typeUrl of [TYPE.cluster, TYPE.endpoints, TYPE.listener, TYPE.route]) {
    const resources = [...(set.get(typeUrl)?.values() ?? [])].map((r) => r.any);
    expect(store.update({ typeUrl, resources }).refused).toEqual([]);
  }
  byPod.set(pod, store.current);
  return store.current;
}

function answer(world: World, q: Question): Decision {
  const snapshot = snapshotOf(world, q.pod);
  const me = world.workloads.find((w) => w.pod === q.pod)!;
  const mtls = q.peer !== null;
  const head: HeadView | null =
    q.method === null
      ? null
      : {
          method: q.method,
          path: q.path,
          authority: q.host === "" ? me.ip : q.port === 80 ? q.host : `${q.host}:${q.port}`,
          get: (name) => q.headers[name] ?? null,
          getAll: (name) => (q.headers[name] === undefined ? [] : [q.headers[name]]),
          has: (name) => q.headers[name] !== undefined,
        };
  const service = world.services.find((s) => s.name === q.host.split(".")[0] || s.host === q.host);
  const outbound = q.inboundPort === null;
  const closed = outbound && head === null;
  const facts: ConnectionFacts = {
    destinationAddress: outbound ? (service?.addresses[0] ?? "192.0.2.1") : me.ip,
    destinationPort: q.inboundPort ?? q.port,
    sourceAddress: "10.244.0.77",
    sourcePort: 4,
    transportProtocol: mtls || closed ? "tls" : "raw_buffer",
    applicationProtocols: mtls ? ["istio-http/1.1", "istio", "http/1.1"] : closed ? [] : ["http/1.1"],
    serverName: closed ? q.host : "",
    peerIdentities: mtls ? [`spiffe://cluster.local/ns/default/sa/${q.peer}`] : [],
  };
  const gateway = `${me.ip}_${q.port}`;
  const listener = outbound
    ? snapshot.listeners.has(gateway)
      ? gateway
      : "virtualOutbound"
    : "virtualInbound";
  return decide(snapshot, { listener, facts, head });
}

/** Clusters that go to the original destination. */
const DIALLED = /^(inbound\||\w*PassthroughCluster$)/;

function say(d: Decision, world: World): string {
  const notes = d.filters.flatMap((f) =>
    f.verdict === "delay" || f.verdict === "abort"
      ? [`${f.verdict} ${f.policy}`]
      : f.verdict === "deny"
        ? [f.policy ? `denied by ${policyPlace(f.policy, world)}` : "no ALLOW policy lets it in"]
        : [],
  );
  if (d.source !== null) notes.push(`route at ${d.source}`);
  const total = d.clusters.reduce((sum, c) => sum + c.weight, 0);
  const to = d.clusters.map((c) => {
    const share = d.clusters.length === 1 ? "" : ` ${Math.round((c.weight / total) * 100)} %`;
    const hosts = c.endpoints.map((e) => `${e.address}${e.tls ? " mTLS" : ""}`);
    return `${c.name}${share} (${c.known ? hosts.join(", ") || (DIALLED.test(c.name) ? "as dialled" : "no endpoints") : "unknown cluster"})`;
  });
  const what = d.status === null ? to.join(" + ") || "any" : d.status === 0 ? "closed" : String(d.status);
  const why = d.status === null ? [] : [d.reason];
  return [what, ...why, ...notes].join("; ");
}

function policyPlace(policy: string, world: World): string {
  const [, namespace, name, index] = /^ns\[(.*)\]-policy\[(.*)\]-rule\[(\d+)\]$/.exec(policy) ?? [];
  const found = world.objects.find(
    (o) => o.source.kind === "AuthorizationPolicy" && o.namespace === namespace && o.name === name,
  );
  return found === undefined
    ? policy
    : `${namespace}/${name} at ${found.source.file}:${found.line(["spec", "rules", Number(index)])}`;
}
