/** What makes the network, as input of `ip -batch` and `iptables-restore`. Pure text, so that it can be read and tested. */

/** The mesh's own address: next hop of every pod, and where what comes from the host seems to come from. */
export const NODE_IP = "10.244.255.254";
/** Where probes come from, as a kubelet's would: pods let them pass to the app, whatever its mTLS mode. */
export const PROBE_IP = "10.244.255.253";
/** Pods and Services; whatever else is dialled lies outside of the mesh. */
const POD_RANGE = "10.244.0.0/16";
const SERVICE_RANGE = "10.96.0.0/12";

/** The listeners of every sidecar (as istiod numbers them), and its own, which are not intercepted. */
const OUTBOUND_PORT = 15001;
const INBOUND_PORT = 15006;
const PROXY_PORTS = [15008, 15020, 15021, 15090];
/** Nobody listens here in the mesh's own namespace. */
const CLOSED_PORT = 1;
/** From here the sidecar hands inbound connections to the app. */
const INBOUND_SOURCE = "127.0.0.6";

export interface PodLink {
  readonly podIp: string;
  readonly appIp: string;
  /** The node's end of the pod's veth pair. */
  readonly device: string;
}

/** The mesh's namespace. The pair that is made and deleted tells at the start, not at the first pod, that veth is missing. */
export function meshLinks(): string {
  return lines(
    "link set lo up",
    `addr add ${NODE_IP}/32 dev lo`,
    `addr add ${PROBE_IP}/32 dev lo`,
    `route add unreachable ${POD_RANGE}`,
    `route add unreachable ${SERVICE_RANGE}`,
    "link add try0 type veth peer name try1",
    "link del try0",
  );
}

/**
 * Of the mesh's namespace: TCP to addresses outside of the mesh, and to the host, goes to `egressPort`. `services` are
 * those of serviceRules.
 */
export function meshRules(egressPort: number, services: readonly string[]): string {
  return nat(
    ...services,
    `-A PREROUTING -p tcp -d ${NODE_IP}/32 -j REDIRECT --to-ports ${egressPort}`,
    `-A PREROUTING -d ${POD_RANGE} -j RETURN`,
    // Refused at once; for the route "unreachable" the kernel answers only so often.
    `-A PREROUTING -p tcp -d ${SERVICE_RANGE} -j REDIRECT --to-ports ${CLOSED_PORT}`,
    `-A PREROUTING -p tcp -j REDIRECT --to-ports ${egressPort}`,
  );
}

export interface ServicePort {
  readonly address: string;
  readonly port: number;
  readonly protocol: string;
  /** ip:port of ready pods. */
  readonly endpoints: readonly string[];
}

/** As kube-proxy: each endpoint of a port with the same probability. */
export function serviceRules(ports: readonly ServicePort[]): string[] {
  return ports.flatMap(({ address, port, protocol, endpoints }) =>
    endpoints.map((endpoint, i) => {
      const left = endpoints.length - i;
      const share = left === 1 ? "" : ` -m statistic --mode random --probability ${(1 / left).toFixed(10)}`;
      return `-A PREROUTING -d ${address}/32 -p ${protocol} --dport ${port}${share} -j DNAT --to-destination ${endpoint}`;
    }),
  );
}

/**
 * Inside of the pod. The route of the table `local` makes the app's address the source of what the app sends to its own
 * pod's address: without it such a connection would look like the sidecar's.
 */
export function podLinks({ podIp, appIp, device }: PodLink, holderPid: number): string {
  return lines(
    "link set lo up",
    `link add eth0 type veth peer name ${device} netns ${holderPid}`,
    `addr add ${appIp}/32 dev eth0`,
    `addr add ${podIp}/32 dev eth0`,
    "link set eth0 up",
    `route add ${NODE_IP}/32 dev eth0 scope link src ${appIp}`,
    `route add default via ${NODE_IP} dev eth0 src ${appIp}`,
    `route replace local ${podIp}/32 dev eth0 table local proto kernel scope host src ${appIp}`,
  );
}

/** The node's end of the pair. */
export function nodeLinks({ podIp, appIp, device }: PodLink): string {
  return lines(
    `addr add ${NODE_IP}/32 dev ${device}`,
    `link set ${device} up`,
    `route add ${podIp}/32 dev ${device}`,
    `route add ${appIp}/32 dev ${device}`,
  );
}

/**
 * Interception as istio-iptables does it, with the source address in the place of the sidecar's uid, because a user
 * namespace without root has one uid only.
 */
export function podRules(podIp: string): string {
  return nat(
    `-A PREROUTING -s ${PROBE_IP}/32 -j RETURN`,
    ...PROXY_PORTS.map((port) => `-A PREROUTING -p tcp --dport ${port} -j RETURN`),
    `-A PREROUTING -p tcp -j REDIRECT --to-ports ${INBOUND_PORT}`,
    // The sidecar to its app.
    `-A OUTPUT -o lo -s ${INBOUND_SOURCE}/32 -j RETURN`,
    // The sidecar to its own pod, which a Service of the pod led to: through the front door, with mTLS and policies.
    `-A OUTPUT -o lo -s ${podIp}/32 ! -d 127.0.0.0/8 -p tcp -j REDIRECT --to-ports ${INBOUND_PORT}`,
    // The sidecar to others; the loop guard.
    `-A OUTPUT -s ${podIp}/32 -j RETURN`,
    // The app to itself, by loopback or by its pod's address.
    "-A OUTPUT -o lo -j RETURN",
    "-A OUTPUT -d 127.0.0.0/8 -j RETURN",
    `-A OUTPUT -p tcp -j REDIRECT --to-ports ${OUTBOUND_PORT}`,
  );
}

function nat(...rules: string[]): string {
  return lines("*nat", ":PREROUTING ACCEPT [0:0]", ":OUTPUT ACCEPT [0:0]", ...rules, "COMMIT");
}

function lines(...all: string[]): string {
  return `${all.join("\n")}\n`;
}
