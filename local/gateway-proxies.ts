import { list, type PlatformObject, record, stringMap } from "./object.ts";

const GATEWAY_NAME = "gateway.networking.k8s.io/gateway-name";
const GATEWAY_CLASS = "gateway.networking.k8s.io/gateway-class-name";
/** Classes that are there without being written, and what a GatewayClass of ours says. */
const OUR_CLASSES: ReadonlySet<string> = new Set(["istio", "weft"]);
const OUR_CONTROLLERS: ReadonlySet<unknown> = new Set([
  "istio.io/gateway-controller",
  "weft.dev/gateway-controller",
]);

/**
 * What a Gateway of the Gateway API needs to run, as Istio makes it: a Deployment NAME-CLASS with one proxy, and a
 * LoadBalancer Service of that name with the listeners' ports. None for a Gateway whose proxies are in the files: pods with
 * its label, or a Service of that name.
 * https://istio.io/latest/docs/tasks/traffic-management/ingress/gateway-api/#automated-deployment
 */
export function gatewayProxies(objects: readonly PlatformObject[]): PlatformObject[] {
  const classes = new Set(OUR_CLASSES);
  for (const { kind, metadata, spec } of objects)
    if (kind === "GatewayClass" && OUR_CONTROLLERS.has(record(spec)["controllerName"]))
      classes.add(metadata.name);
  return objects
    .filter(
      ({ kind, apiVersion }) => kind === "Gateway" && apiVersion.startsWith("gateway.networking.k8s.io/"),
    )
    .filter(({ spec }) => classes.has(String(record(spec)["gatewayClassName"])))
    .filter((gateway) => !objects.some((object) => isOwnProxy(object, gateway)))
    .flatMap(proxyOf);
}

const MADE = "gateway.istio.io/managed";

/** A Service that no file has. */
export function isMade({ kind, metadata }: PlatformObject): boolean {
  return kind === "Service" && metadata.labels?.[MADE] === "weft.dev";
}

function nameOf({ metadata, spec }: PlatformObject): string {
  return `${metadata.name}-${String(record(spec)["gatewayClassName"])}`;
}

function isOwnProxy(object: PlatformObject, gateway: PlatformObject): boolean {
  const { kind, metadata, spec } = object;
  if ((metadata.namespace ?? "default") !== (gateway.metadata.namespace ?? "default")) return false;
  if (kind === "Service") return metadata.name === nameOf(gateway);
  const labels =
    kind === "Pod" ? metadata.labels : record(record(record(spec)["template"])["metadata"])["labels"];
  return stringMap(labels)[GATEWAY_NAME] === gateway.metadata.name;
}

function proxyOf(gateway: PlatformObject): PlatformObject[] {
  const { metadata, source, spec } = gateway;
  const name = nameOf(gateway);
  const selector = { [GATEWAY_NAME]: metadata.name };
  const labels = { ...selector, [GATEWAY_CLASS]: String(record(spec)["gatewayClassName"]) };
  const common = {
    metadata: {
      name,
      labels: { ...labels, [MADE]: "weft.dev" },
      ...(metadata.namespace === undefined ? {} : { namespace: metadata.namespace }),
    },
    ...(source === undefined ? {} : { source }),
  };
  const ports = listening(list(record(spec)["listeners"]).map((l) => Number(l["port"])));
  return [
    {
      ...common,
      apiVersion: "v1",
      kind: "Service",
      spec: {
        type: "LoadBalancer",
        selector,
        ports: ports.map(({ port, target }) => ({ name: `http-${port}`, port, targetPort: target })),
      },
    },
    {
      ...common,
      apiVersion: "apps/v1",
      kind: "Deployment",
      spec: {
        selector: { matchLabels: selector },
        template: {
          metadata: { labels, annotations: { "inject.istio.io/templates": "gateway" } },
          spec: {
            serviceAccountName: name,
            containers: [
              {
                name: "istio-proxy",
                image: "auto",
                ports: ports.map(({ target }) => ({ containerPort: target })),
              },
            ],
          },
        },
      },
    },
  ];
}

/** Where the proxy itself listens: a port below 1024 is not for everybody to open, so 80 becomes 8080. */
function listening(ports: readonly number[]): { port: number; target: number }[] {
  const wanted = [...new Set(ports)].sort((a, b) => b - a);
  const taken = new Set<number>();
  const found = wanted.map((port) => {
    let target = port < 1024 ? port + 8000 : port;
    while (taken.has(target)) target++;
    taken.add(target);
    return { port, target };
  });
  return found.sort((a, b) => a.port - b.port);
}
