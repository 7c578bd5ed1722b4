import type {
  GatewayListenerIr,
  InboundPortIr,
  MtlsMode,
  Protocol,
  SourceRef,
  TcpServiceIr,
  WeightedClusterIr,
  WorkloadIr,
} from "#ir/index.ts";
import { Memo } from "#lib/memo.ts";
import { ListenerSchema } from "#xds/gen/envoy/config/listener/v3/listener_pb.js";
import { HttpInspectorSchema } from "#xds/gen/envoy/extensions/filters/listener/http_inspector/v3/http_inspector_pb.js";
import { OriginalDstSchema } from "#xds/gen/envoy/extensions/filters/listener/original_dst/v3/original_dst_pb.js";
import { TlsInspectorSchema } from "#xds/gen/envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector_pb.js";
import { TcpProxySchema } from "#xds/gen/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy_pb.js";
import { TYPE } from "#xds/index.ts";
import { rbacFilters } from "./authorization.ts";
import { clusterName, explicitAddress, tcpClusterName, type WriteContext } from "./context.ts";
import { accessLog, httpManager, refusalLog } from "./http-manager.ts";
import { duration, extension, type Json, type Resource, resource, socketAddress } from "./resource.ts";
import { gatewayTableName } from "./routes.ts";
import { gatewayTls, inboundTls } from "./tls.ts";
import { spanIdentity } from "./tracing.ts";
import { unwritableRules, type Writing } from "./unwritten.ts";

const OUTBOUND_PORT = 15001;
const INBOUND_PORT = 15006;
const MTLS_HTTP = ["istio-http/1.0", "istio-http/1.1", "istio-h2"];
const MTLS_TCP = ["istio-peer-exchange", "istio"];
/** HTTP/1.0 too: it is asked to come back as HTTP/1.1, on a port that is declared as on one that is not. */
const PLAIN_HTTP = ["http/1.0", "http/1.1", "h2c"];

/**
 * How long a client may say nothing where its first bytes are to tell what it speaks; then it is TCP. istiod waits for
 * ever today, which a server that speaks first never survives; this is what its protocolDetectionTimeout once was.
 */
const DETECTION_TIMEOUT = "5s";

const tlsInspector = extension("envoy.filters.listener.tls_inspector", TlsInspectorSchema);
const httpInspector = extension("envoy.filters.listener.http_inspector", HttpInspectorSchema);

/** A listener that is to be, under its name, and the statements that are to blame when it cannot be written. */
interface Plan {
  readonly name: string;
  readonly json: () => Json;
  readonly blame: () => readonly SourceRef[];
}

/**
 * A listener whose authorization cannot be written is absent rather than open: what is redirected to it, or dials it, is
 * refused.
 */
export function writeListeners(ir: WorkloadIr, context: WriteContext, writing: Writing): void {
  const own = ir.kind === "gateway" ? gatewayListeners(ir, context) : sidecarListeners(ir, context);
  for (const { name, json, blame } of own)
    writing.add(TYPE.listener, name, blame, () => listenerResource(json()));
  serviceListeners(ir, context, writing);
}

function listenerResource(listener: Json): Resource {
  return resource(ListenerSchema, listener.name as string, listener);
}

function sidecarListeners(ir: WorkloadIr, context: WriteContext): Plan[] {
  const { interception } = ir;
  const nobody = () => [];
  const rules = () => unwritableRules(ir.authorization);
  if (interception.kind === "transparent") {
    return [
      ...httpPorts(ir, context),
      { name: "virtualOutbound", json: () => virtualOutbound(ir, context), blame: nobody },
      { name: "virtualInbound", json: () => virtualInbound(ir, context), blame: rules },
    ];
  }
  const at = (address: string) => explicitAddress(interception.servicePrefix, address);
  const outbound = (address: string, port: number, filters: () => Json[]): Plan => {
    const name = `${address}_${port}`;
    const json = (): Json => ({
      name,
      address: socketAddress(address, port),
      traffic_direction: "OUTBOUND",
      filter_chains: [{ filters: filters() }],
    });
    return { name, json, blame: nobody };
  };
  return [
    ...ir.httpServices.flatMap((s) =>
      s.addresses.map((a) =>
        outbound(at(a), s.port, () => [httpOut(context, ir, `0.0.0.0_${s.port}`, String(s.port))]),
      ),
    ),
    outbound(`${interception.servicePrefix}.0.1`, OUTBOUND_PORT, () => [
      httpOut(context, ir, "http_proxy", "http_proxy", true),
    ]),
    ...ir.inbound.map((p): Plan => {
      const name = `${ir.ip}_${p.port}`;
      const json = (): Json => ({
        name,
        address: socketAddress(ir.ip, p.port),
        traffic_direction: "INBOUND",
        ...inspection([
          ...(chainsLookAt(p).tls ? [tlsInspector] : []),
          ...(chainsLookAt(p).http ? [httpInspector] : []),
        ]),
        filter_chains: portChains(p, ir, context),
        access_log: refusalLog(context),
      });
      return { name, json, blame: rules };
    }),
  ];
}

function tcp(cluster: string, context: WriteContext): Json {
  return extension("envoy.filters.network.tcp_proxy", TcpProxySchema, {
    stat_prefix: cluster,
    cluster,
    access_log: accessLog(context),
  });
}

/** Several destinations are one filter, so the first one's idle timeout is that of all. */
function tcpTo(destinations: readonly WeightedClusterIr[], ir: WorkloadIr, context: WriteContext): Json {
  const first = destinations[0];
  if (first === undefined) return tcp("BlackHoleCluster", context);
  const uses = tcpUses(ir);
  const nameOf = ({ cluster }: WeightedClusterIr): string =>
    uses.get(clusterName(cluster))?.name ?? clusterName(cluster);
  const idleMs = uses.get(clusterName(first.cluster))?.idleMs ?? null;
  return extension("envoy.filters.network.tcp_proxy", TcpProxySchema, {
    stat_prefix: clusterName(first.cluster),
    ...(destinations.length === 1
      ? { cluster: nameOf(first) }
      : {
          weighted_clusters: { clusters: destinations.map((d) => ({ name: nameOf(d), weight: d.weight })) },
        }),
    ...(idleMs === null ? {} : { idle_timeout: duration(idleMs) }),
    access_log: accessLog(context),
  });
}

interface TcpUse {
  /** The cluster that takes raw bytes. */
  readonly name: string;
  /** From a DestinationRule. */
  readonly idleMs: number | null;
}

const tcpUsesOf = new Memo<ReadonlyMap<string, TcpUse>>();

/** What a TCP proxy must know of a cluster, by `clusterName`, where it is not the default; read once per IR. */
function tcpUses(ir: WorkloadIr): ReadonlyMap<string, TcpUse> {
  return tcpUsesOf.get(ir, "", () => {
    const found = new Map<string, TcpUse>();
    for (const cluster of ir.clusters) {
      const idleMs = cluster.pool?.tcpIdleTimeoutMs ?? null;
      const auto = cluster.protocol === "auto";
      if (auto || idleMs !== null)
        found.set(clusterName(cluster), {
          name: auto ? tcpClusterName(cluster) : clusterName(cluster),
          idleMs,
        });
    }
    return found;
  });
}

/** What of the clusters goes into the listeners of these services: it does not come from the services themselves. */
function tcpKey(services: readonly TcpServiceIr[], ir: WorkloadIr): string {
  const uses = tcpUses(ir);
  if (uses.size === 0) return "";
  return services
    .flatMap((s) => [s, ...s.tlsRoutes])
    .flatMap(({ destinations }) => destinations.map((d) => uses.get(clusterName(d.cluster))))
    .map((use) => (use === undefined ? "" : `${use.name} ${use.idleMs}`))
    .join(":");
}

function httpOut(context: WriteContext, ir: WorkloadIr, stat: string, table: string, absolute = false): Json {
  return httpManager(context, ir, { direction: "outbound", stat: `outbound_${stat};`, table, absolute });
}

function anyAddress(ir: WorkloadIr): string {
  return ir.outboundMode === "ALLOW_ANY" ? "PassthroughCluster" : "BlackHoleCluster";
}

function httpPorts(ir: WorkloadIr, context: WriteContext): Plan[] {
  return ir.outboundHttp.map((t): Plan => {
    const name = `0.0.0.0_${t.port}`;
    const json = (): Json => ({
      name,
      address: socketAddress("0.0.0.0", t.port),
      bind_to_port: false,
      traffic_direction: "OUTBOUND",
      ...inspection([httpInspector]),
      filter_chains: [
        {
          filter_chain_match: { transport_protocol: "raw_buffer", application_protocols: PLAIN_HTTP },
          filters: [httpOut(context, ir, name, t.name)],
          transport_socket_connect_timeout: "15s",
        },
      ],
      default_filter_chain: { name: "PassthroughFilterChain", filters: [tcp(anyAddress(ir), context)] },
    });
    return { name, json, blame: () => [] };
  });
}

/** Of service ports that no HTTP port listener covers; proxies that write the same share it. */
const ofService = new Memo<Resource>();

function serviceListeners(ir: WorkloadIr, context: WriteContext, writing: Writing): void {
  if (ir.kind === "gateway") return;
  const { interception } = ir;
  const bound = interception.kind === "explicit";
  const [app, mode] = [spanIdentity(ir), ir.outboundMode];
  const byPort = new Map<number, TcpServiceIr[]>();
  for (const s of ir.tcpServices) {
    // The pods of an explicit mesh are on loopback themselves, where nothing stands between them and their callers.
    const addresses = s.addresses.filter((a) => !a.includes("/") && !(bound && a.startsWith("127.")));
    if (s.addresses.length === 0 && s.byNameOnly !== true)
      byPort.set(s.port, [...(byPort.get(s.port) ?? []), s]);
    for (const a of addresses) {
      const address = bound ? explicitAddress(interception.servicePrefix, a) : a;
      // What sniffs HTTP carries the caller's name for its spans.
      const key = [address, bound, contextKey(context)];
      writing.add(
        TYPE.listener,
        `${address}_${s.port}`,
        () => sourcesOf([s]),
        () =>
          ofService.get(s, [...key, s.http === null ? "" : app, tcpKey([s], ir)].join(), () =>
            listenerResource({
              ...tcpService(s, address, ir, context),
              ...(bound ? {} : { bind_to_port: false }),
            }),
          ),
      );
    }
  }
  if (bound) return;
  const taken = new Set(ir.outboundHttp.map((t) => t.port));
  for (const [port, services] of byPort) {
    // HTTP and something else on one port of every address: HTTP keeps it.
    if (taken.has(port)) continue;
    const key = [app, mode, contextKey(context), services.length, tcpKey(services, ir)].join();
    writing.add(
      TYPE.listener,
      `0.0.0.0_${port}`,
      () => sourcesOf(services),
      () =>
        ofService.get(services[0]!, `*${key}${services.map((s) => s.host).join()}`, () =>
          listenerResource(anyAddressListener(port, services, ir, context)),
        ),
    );
  }
}

function sourcesOf(services: readonly TcpServiceIr[]): SourceRef[] {
  const all = services.flatMap((s) => [...s.tlsRoutes, s]).map(({ source }) => source);
  return all.filter((source) => source !== null);
}

/** What of the mesh's settings goes into a listener. */
function contextKey(context: WriteContext): string {
  return [
    context.flavour,
    context.accessLog,
    context.traceSampling,
    context.otlpPath,
    context.trustDomain,
  ].join();
}

/** Services without an address meet on one listener: TLS is told apart by server name, the first other one has the rest. */
function anyAddressListener(
  port: number,
  services: readonly TcpServiceIr[],
  ir: WorkloadIr,
  context: WriteContext,
): Json {
  const secure = services.filter((s) => s.protocol === "tls");
  const other = services.find((s) => s.protocol !== "tls");
  if (secure.length === 0) return { ...tcpService(other!, "0.0.0.0", ir, context), bind_to_port: false };
  const names = new Set<string>();
  const chains = secure.flatMap((s) => sniChains(s, names, ir, context));
  return {
    name: `0.0.0.0_${port}`,
    address: socketAddress("0.0.0.0", port),
    bind_to_port: false,
    traffic_direction: "OUTBOUND",
    listener_filters: [tlsInspector],
    listener_filters_timeout: "0s",
    filter_chains: chains,
    default_filter_chain:
      other === undefined
        ? { name: "PassthroughFilterChain", filters: [tcp(anyAddress(ir), context)] }
        : { filters: [tcpTo(other.destinations, ir, context)] },
  };
}

/** A name may stand in one chain only (Envoy): the first one has it. */
function sniChains(s: TcpServiceIr, taken: Set<string>, ir: WorkloadIr, context: WriteContext): Json[] {
  const routes = [...s.tlsRoutes, { sniHosts: s.sniHosts, destinations: s.destinations }];
  return routes.flatMap(({ sniHosts, destinations }): Json[] => {
    const names = sniHosts.filter((h) => !taken.has(h));
    for (const h of names) taken.add(h);
    if (names.length === 0) return [];
    return [{ filter_chain_match: { server_names: names }, filters: [tcpTo(destinations, ir, context)] }];
  });
}

function tcpService(s: TcpServiceIr, address: string, ir: WorkloadIr, context: WriteContext): Json {
  const name = `${address}_${s.port}`;
  const own: Json = { filters: [tcpTo(s.destinations, ir, context)] };
  const base: Json = { name, address: socketAddress(address, s.port), traffic_direction: "OUTBOUND" };
  if (s.http !== null) {
    return {
      ...base,
      ...inspection([httpInspector]),
      filter_chains: [
        {
          filter_chain_match: { transport_protocol: "raw_buffer", application_protocols: PLAIN_HTTP },
          filters: [httpOut(context, ir, name, s.http.name)],
        },
      ],
      default_filter_chain: own,
    };
  }
  if (s.tlsRoutes.length > 0) {
    return {
      ...base,
      listener_filters: [tlsInspector],
      listener_filters_timeout: "0s",
      filter_chains: sniChains({ ...s, sniHosts: [] }, new Set(), ir, context),
      default_filter_chain: own,
    };
  }
  return { ...base, filter_chains: [own] };
}

function virtualOutbound(ir: WorkloadIr, context: WriteContext): Json {
  return {
    name: "virtualOutbound",
    access_log: refusalLog(context),
    address: socketAddress("0.0.0.0", OUTBOUND_PORT),
    use_original_dst: true,
    traffic_direction: "OUTBOUND",
    max_connections_to_accept_per_socket_event: 1,
    filter_chains: [
      {
        name: "virtualOutbound-blackhole",
        filter_chain_match: { destination_port: OUTBOUND_PORT },
        filters: [tcp("BlackHoleCluster", context)],
      },
      { name: "virtualOutbound-catchall-tcp", filters: [tcp(anyAddress(ir), context)] },
    ],
  };
}

function virtualInbound(ir: WorkloadIr, context: WriteContext): Json {
  const ports = new Map(ir.inbound.map((p) => [p.port, p]));
  return {
    name: "virtualInbound",
    access_log: refusalLog(context),
    address: socketAddress("0.0.0.0", INBOUND_PORT),
    traffic_direction: "INBOUND",
    max_connections_to_accept_per_socket_event: 1,
    ...inspection([
      extension("envoy.filters.listener.original_dst", OriginalDstSchema),
      { ...tlsInspector, ...offAt([...ports.values()].filter((p) => !chainsLookAt(p).tls)) },
      { ...httpInspector, ...offAt([...ports.values()].filter((p) => !chainsLookAt(p).http)) },
    ]),
    filter_chains: [
      {
        name: "virtualInbound-blackhole",
        filter_chain_match: { destination_port: INBOUND_PORT },
        filters: [tcp("BlackHoleCluster", context)],
      },
      ...chains(
        { mode: ir.defaultMtls, protocol: "auto", cluster: "InboundPassthroughCluster" },
        null,
        ir,
        context,
      ),
      ...[...ports.values()].flatMap((p) => portChains(p, ir, context)),
    ],
  };
}

function portChains(p: InboundPortIr, ir: WorkloadIr, context: WriteContext): Json[] {
  return chains({ mode: p.mtls, protocol: p.protocol, cluster: `inbound|${p.port}||` }, p, ir, context);
}

/**
 * What must be seen of a connection's first bytes before its chain is known. Where nothing must be, nobody waits for
 * them: a server that speaks first would never be heard, and a few bytes and an end would be lost.
 */
function chainsLookAt({ mtls, protocol }: InboundPortIr): { readonly tls: boolean; readonly http: boolean } {
  const rows = TABLE[mtls][kindOf(protocol)];
  return {
    tls: rows.some(([transport]) => transport === "tls"),
    http: rows.some(([transport, alpn]) => transport === "raw_buffer" && alpn.length > 0),
  };
}

function inspection(filters: readonly Json[]): Json {
  if (filters.length === 0) return {};
  return {
    listener_filters: [...filters],
    listener_filters_timeout: DETECTION_TIMEOUT,
    continue_on_listener_filters_timeout: true,
  };
}

function offAt(ports: readonly InboundPortIr[]): Json {
  const rules = ports.map(({ port }): Json => ({ destination_port_range: { start: port, end: port + 1 } }));
  if (rules.length === 0) return {};
  return { filter_disabled: rules.length === 1 ? rules[0]! : { or_match: { rules } } };
}

function kindOf(protocol: Protocol): "http" | "tcp" | "auto" {
  return protocol === "auto" ? "auto" : protocol === "tcp" || protocol === "tls" ? "tcp" : "http";
}

interface ChainSet {
  readonly mode: MtlsMode;
  readonly protocol: Protocol;
  readonly cluster: string;
}

/** Table 1.3 of the xDS contract: which chains a port has, by mTLS mode and protocol. Rows: [TLS match, ALPN, kind, TLS]. */
function chains(set: ChainSet, port: InboundPortIr | null, ir: WorkloadIr, context: WriteContext): Json[] {
  return TABLE[set.mode][kindOf(set.protocol)].map(([transport, alpn, filters, terminate]): Json => {
    const http = filters === "http";
    const catchAll = http ? "virtualInbound-catchall-http" : "virtualInbound";
    return {
      name: port === null ? catchAll : `0.0.0.0_${port.port}`,
      filter_chain_match: {
        ...(port === null ? {} : { destination_port: port.port }),
        transport_protocol: transport,
        ...(alpn.length === 0 ? {} : { application_protocols: [...alpn] }),
      },
      ...(terminate ? { transport_socket: inboundTls(http, ir.identity.trustDomain) } : {}),
      filters: http
        ? [
            httpManager(context, ir, {
              direction: "inbound",
              stat: `inbound_0.0.0.0_${port?.port ?? 0};`,
              cluster: set.cluster,
              servicePort: port?.servicePort ?? port?.port ?? 0,
              host: port?.host ?? "",
            }),
          ]
        : [...rbacFilters(ir.authorization, false), tcp(set.cluster, context)],
    };
  });
}

type Row = readonly ["tls" | "raw_buffer", readonly string[], "http" | "tcp", boolean];
const ALL_MTLS = [...MTLS_HTTP, ...MTLS_TCP];
const TABLE: Record<MtlsMode, Record<"http" | "tcp" | "auto", readonly Row[]>> = {
  PERMISSIVE: {
    http: [
      ["tls", ALL_MTLS, "http", true],
      ["raw_buffer", [], "http", false],
    ],
    tcp: [
      ["tls", ALL_MTLS, "tcp", true],
      ["tls", [], "tcp", false],
      ["raw_buffer", [], "tcp", false],
    ],
    auto: [
      ["tls", MTLS_HTTP, "http", true],
      ["raw_buffer", PLAIN_HTTP, "http", false],
      ["tls", MTLS_TCP, "tcp", true],
      ["raw_buffer", [], "tcp", false],
      ["tls", [], "tcp", false],
    ],
  },
  STRICT: {
    http: [["tls", [], "http", true]],
    tcp: [["tls", [], "tcp", true]],
    auto: [
      ["tls", MTLS_HTTP, "http", true],
      ["tls", [], "tcp", true],
    ],
  },
  DISABLE: {
    http: [["raw_buffer", [], "http", false]],
    tcp: [["raw_buffer", [], "tcp", false]],
    auto: [
      ["raw_buffer", PLAIN_HTTP, "http", false],
      ["raw_buffer", [], "tcp", false],
    ],
  },
};

function gatewayListeners(ir: WorkloadIr, context: WriteContext): Plan[] {
  const ports = new Map<number, GatewayListenerIr[]>();
  for (const l of ir.gatewayListeners) ports.set(l.port, [...(ports.get(l.port) ?? []), l]);
  return [...ports].map(([port, servers]): Plan => {
    const blame = () => {
      const rules = unwritableRules(ir.authorization);
      return rules.length > 0 ? rules : servers.map(({ source }) => source);
    };
    return { name: `${ir.ip}_${port}`, json: () => gatewayPort(port, servers, ir, context), blame };
  });
}

function gatewayPort(
  port: number,
  servers: readonly GatewayListenerIr[],
  ir: WorkloadIr,
  context: WriteContext,
): Json {
  const plain = servers.find((s) => s.protocol === "http");
  const secure = servers.filter((s) => s.tls !== null && s.protocol === "https");
  const chain = (table: string): Json[] => [
    httpManager(context, ir, { direction: "gateway", stat: `outbound_0.0.0.0_${port};`, table }),
  ];
  return {
    name: `${ir.ip}_${port}`,
    address: socketAddress(ir.ip, port),
    traffic_direction: "OUTBOUND",
    ...(secure.length === 0 ? {} : { listener_filters: [tlsInspector], listener_filters_timeout: "15s" }),
    filter_chains: [
      ...secure.map((s): Json => {
        const hosts = s.tls?.hosts.filter((h) => h !== "*") ?? [];
        return {
          filter_chain_match: hosts.length === 0 ? {} : { server_names: hosts },
          transport_socket:
            s.tls?.kind === "terminate"
              ? gatewayTls(s.tls.credential, s.tls.mutual)
              : inboundTls(true, ir.identity.trustDomain),
          filters: chain(gatewayTableName("https", port, s.name)),
        };
      }),
      ...(plain === undefined ? [] : [{ filters: chain(gatewayTableName("http", port, plain.name)) }]),
    ],
  };
}
