/** The mesh in which generated documents are tried, and how a document is aimed at it. */
import type { KindKey } from "#policies/kinds.ts";

/** Documents that are pushed at once: each has a Service of its own to speak of. */
export const BATCH = 30;

const pod = (name: string, ip: string, labels: string, ports: string): string => `
apiVersion: v1
kind: Pod
metadata: { name: ${name}, labels: { ${labels}, version: v1, security.istio.io/tlsMode: istio } }
spec: { serviceAccountName: ${name}, containers: [{ name: c, ports: [${ports}] }] }
status: { phase: Running, podIP: ${ip}, conditions: [{ type: Ready, status: "True" }] }
---`;

export const PODS = [
  { pod: "client", ip: "10.244.0.1" },
  { pod: "shop", ip: "10.244.0.2" },
  { pod: "gate", ip: "10.244.0.9" },
] as const;

const PORTS = "{ name: http, containerPort: 8080 }, { name: tcp, containerPort: 9000 }";
export const MESH = `${pod("client", "10.244.0.1", "app: client", PORTS)}${pod("shop", "10.244.0.2", "app: shop", PORTS)}${pod(
  "gate",
  "10.244.0.9",
  "app: gate, gateway.networking.k8s.io/gateway-name: f0",
  "",
)}
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: { name: gate }
spec: { selector: { app: gate }, servers: [{ port: { number: 80, name: http, protocol: HTTP }, hosts: ["*"] }] }
---
${Array.from(
  { length: BATCH },
  (_, i) => `
apiVersion: v1
kind: Service
metadata: { name: s${i} }
spec:
  clusterIP: 10.96.0.${i + 1}
  selector: { app: shop }
  ports: [{ name: http, port: 80, targetPort: 8080 }, { name: tcp, port: 9000 }, { name: any, port: 9100, targetPort: 9000 }]
`,
).join("---")}`;

type Spec = Record<string, unknown>;

/** What the i-th document speaks of; the rest of it stays as it was generated. */
const AIMS: Partial<Record<KindKey, (spec: Spec, i: number) => Spec>> = {
  "networking.istio.io/VirtualService": (spec, i) => ({
    ...spec,
    hosts: [`s${i}`],
    gateways: ["mesh", "gate"],
  }),
  "networking.istio.io/DestinationRule": (spec, i) => ({ ...spec, host: `s${i}`, workloadSelector: null }),
  "networking.istio.io/Gateway": (spec) => ({ ...spec, selector: { app: "gate" } }),
  "networking.istio.io/ServiceEntry": (spec, i) => ({ ...spec, hosts: [`e${i}.example`] }),
  "security.istio.io/AuthorizationPolicy": (spec) => ({
    ...spec,
    selector: { matchLabels: { app: "shop" } },
  }),
  "security.istio.io/PeerAuthentication": (spec) => ({ ...spec, selector: { matchLabels: { app: "shop" } } }),
  "gateway.networking.k8s.io/HTTPRoute": (spec, i) => ({
    ...spec,
    parentRefs: [{ group: "", kind: "Service", name: `s${i}` }],
  }),
  "/Service": (spec, i) => ({ ...spec, selector: { app: "shop" }, clusterIP: `10.96.1.${i + 1}` }),
};

export function aim(key: KindKey, spec: unknown, i: number): unknown {
  const isMap = typeof spec === "object" && spec !== null && !Array.isArray(spec);
  return isMap ? (AIMS[key]?.(spec as Spec, i) ?? spec) : spec;
}
