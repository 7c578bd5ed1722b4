/** Type URLs of the resources Weft serves and consumes, and the order in which a push sends them. */
const PREFIX = "type.googleapis.com/";

export const TYPE = {
  cluster: `${PREFIX}envoy.config.cluster.v3.Cluster`,
  endpoints: `${PREFIX}envoy.config.endpoint.v3.ClusterLoadAssignment`,
  listener: `${PREFIX}envoy.config.listener.v3.Listener`,
  route: `${PREFIX}envoy.config.route.v3.RouteConfiguration`,
  secret: `${PREFIX}envoy.extensions.transport_sockets.tls.v3.Secret`,
  extension: `${PREFIX}envoy.config.core.v3.TypedExtensionConfig`,
  nameTable: `${PREFIX}istio.networking.nds.v1.NameTable`,
  proxyConfig: `${PREFIX}istio.mesh.v1alpha1.ProxyConfig`,
} as const;

/** Make before break: a thing is sent before what refers to it (as istiod's PushOrder, pilot/pkg/xds/ads.go). */
const ORDER: readonly string[] = [TYPE.cluster, TYPE.endpoints, TYPE.listener, TYPE.route, TYPE.secret];

/** Known types in push order, all others after them by name. */
export function inPushOrder(types: Iterable<string>): string[] {
  const rank = (type: string): number => (ORDER.includes(type) ? ORDER.indexOf(type) : ORDER.length);
  return [...types].sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : a > b ? 1 : 0));
}

const NAMED: ReadonlySet<string> = new Set([TYPE.endpoints, TYPE.route, TYPE.secret, TYPE.extension]);

/** Whether a first request without names asks for everything (true) or for nothing (false: EDS, RDS, SDS, ECDS). */
export function isWildcardType(type: string): boolean {
  return !NAMED.has(type);
}

/** `envoy.config.cluster.v3.Cluster` -> `Cluster`, for logs and status. */
export function shortType(type: string): string {
  return type.slice(type.lastIndexOf(".") + 1);
}
