import type { PodAddress } from "./addresses.ts";
import type { PodPhase } from "./contract.ts";
import { list, type PlatformObject, record } from "./object.ts";
import type { PodTemplate } from "./spec.ts";
import { writeAtomic } from "./tokens.ts";

export interface PodFacts {
  readonly name: string;
  /** Of its folder and its network. */
  readonly id: string;
  readonly template: PodTemplate;
  readonly address: PodAddress;
  readonly phase: PodPhase;
  readonly ready: boolean;
  readonly processes: readonly {
    readonly spec: { readonly name: string };
    readonly restarts: number;
  }[];
}

/**
 * A Service has a virtual address unless it is headless or only a name. In explicit mode a headless one has one too: no
 * name leads to the addresses of its pods there.
 */
export function virtualServices(
  objects: readonly PlatformObject[],
  mode: "explicit" | "transparent",
): PlatformObject[] {
  return objects.filter((o) => {
    const spec = record(o.spec);
    if (o.kind !== "Service" || spec["type"] === "ExternalName") return false;
    return spec["clusterIP"] !== "None" || mode === "explicit";
  });
}

export function serviceKey({ metadata }: PlatformObject): string {
  return `${metadata.namespace ?? "default"}/${metadata.name}`;
}

export interface PlatformFacts {
  readonly mode: "explicit" | "transparent";
  readonly pods: readonly PodFacts[];
  /** By namespace/name of the Service. */
  readonly vips: ReadonlyMap<string, string>;
  /** Services that no file has: the platform made them. */
  readonly services: readonly PlatformObject[];
}

/** What the platform tells the control plane, in Kubernetes' own shapes: a v1 List of Pods, IPAddresses and Services. */
export function platformState({ mode, pods, vips, services }: PlatformFacts): object {
  return {
    apiVersion: "v1",
    kind: "List",
    items: [
      ...services.map(({ apiVersion, kind, metadata, spec }) => ({ apiVersion, kind, metadata, spec })),
      ...pods.map((pod) => podObject(mode, pod)),
      ...[...vips].map(([key, ip]) => ({
        apiVersion: "networking.k8s.io/v1",
        kind: "IPAddress",
        metadata: { name: ip },
        spec: { parentRef: { resource: "services", namespace: key.split("/")[0], name: key.split("/")[1] } },
      })),
    ],
  };
}

function podObject(
  mode: "explicit" | "transparent",
  { name, template, address, phase, ready, processes }: PodFacts,
): object {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      name,
      namespace: template.namespace,
      // As Istio's templates: a gateway's listeners are what its Gateway says, plaintext as a rule.
      labels: {
        ...template.labels,
        ...(template.inject && !template.gateway ? { "security.istio.io/tlsMode": "istio" } : {}),
      },
      annotations: {
        ...template.annotations,
        "weft.dev/mode": mode,
        ...(mode === "explicit"
          ? { "weft.dev/app-address": address.appIp, "weft.dev/service-prefix": address.servicePrefix }
          : {}),
      },
      ownerReferences:
        template.ownerKind === "Pod"
          ? []
          : [
              {
                apiVersion: template.ownerKind === "Job" ? "batch/v1" : "apps/v1",
                kind: template.ownerKind,
                name: template.workload,
              },
            ],
    },
    spec: {
      hostname: template.hostname ?? name,
      ...(template.subdomain === undefined ? {} : { subdomain: template.subdomain }),
      serviceAccountName: template.serviceAccount,
      ...dnsName(template),
      containers: [{ name: "main", ports: uniqueNames(template.ports) }],
    },
    status: {
      phase,
      // One that has ended has given it back; another may have it by now.
      ...(phase === "Succeeded" || phase === "Failed" ? {} : { podIP: address.podIp }),
      conditions: [{ type: "Ready", status: ready ? "True" : "False" }],
      containerStatuses: processes.map(({ spec, restarts }) => ({ name: spec.name, restartCount: restarts })),
    },
  };
}

function dnsName({ hostname, subdomain }: PodTemplate): { hostname?: string; subdomain?: string } {
  return {
    ...(hostname === undefined ? {} : { hostname }),
    ...(subdomain === undefined ? {} : { subdomain }),
  };
}

/** Containers of a pod may call two ports alike; the first has the name. */
function uniqueNames(ports: PodTemplate["ports"]): PodTemplate["ports"] {
  return ports.map((port, i) =>
    ports.findIndex((p) => p.name === port.name) === i ? port : { ...port, name: "" },
  );
}

/** Writes only what changed, so that the control plane is not woken for nothing. */
export class PlatformFile {
  readonly #file: string;
  #last = "";

  constructor(file: string) {
    this.#file = file;
  }
  write(state: object): void {
    const text = JSON.stringify(state, undefined, 1);
    if (text === this.#last) return;
    writeAtomic(this.#file, text);
    this.#last = text;
  }
}

/**
 * The environment that Kubernetes gives for each Service of the pod's namespace (NAME_SERVICE_HOST, _PORT and, for named
 * ports, _PORT_NAME), seen through the pod's own addresses. `everywhere`: those of other namespaces too, as
 * NAME_NAMESPACE_SERVICE_HOST and so on, where no name of theirs resolves.
 */
export function serviceEnvironment(
  namespace: string,
  services: readonly PlatformObject[],
  everywhere: boolean,
  addressOf: (key: string) => string | undefined,
): Record<string, string> {
  const env: Record<string, string> = {};
  const own = (s: PlatformObject): boolean => (s.metadata.namespace ?? "default") === namespace;
  // The namespace's own last: theirs are the names that Kubernetes gives.
  for (const service of [...(everywhere ? services.filter((s) => !own(s)) : []), ...services.filter(own)]) {
    const ns = service.metadata.namespace ?? "default";
    const address = addressOf(`${ns}/${service.metadata.name}`);
    const ports = list(record(service.spec)["ports"]);
    const port = ports[0]?.["port"];
    if (address === undefined || port === undefined) continue;
    const upper = (text: string): string => text.toUpperCase().replaceAll(/[^A-Z0-9]/g, "_");
    const name = upper(own(service) ? service.metadata.name : `${service.metadata.name}_${ns}`);
    env[`${name}_SERVICE_HOST`] = address;
    env[`${name}_SERVICE_PORT`] = String(port);
    for (const p of ports)
      if (typeof p["name"] === "string") env[`${name}_SERVICE_PORT_${upper(p["name"])}`] = String(p["port"]);
  }
  return env;
}
