import { join } from "node:path";
import type { Logger } from "#lib/log.ts";
import { list, record } from "../object.ts";
import type { PodFacts } from "../platform-state.ts";
import { endpointsOf, type Names } from "./names.ts";
import type { MeshNetwork, PodNetwork } from "./network.ts";
import { podFiles, updateHosts } from "./pod-files.ts";
import { type ServicePort, serviceRules } from "./rules.ts";

/** What pods see of their mesh in transparent mode: names, and, for those without a sidecar, the addresses of Services. */
export class MeshView {
  readonly #network: MeshNetwork;
  readonly #stateDir: string;
  readonly #sidecars: boolean;
  readonly #log: Logger;
  #rules = "";

  constructor(network: MeshNetwork, stateDir: string, sidecars: boolean, log: Logger) {
    this.#network = network;
    this.#stateDir = stateDir;
    this.#sidecars = sidecars;
    this.#log = log;
  }

  /** The namespaces of a new pod. */
  join(pod: PodFacts, names: Names): Promise<PodNetwork> {
    const binds = podFiles(this.#dir(pod), pod, names);
    // A gateway listens on its ports itself; nothing of its traffic is turned.
    const intercept = this.#hasSidecar(pod) && !pod.template.gateway;
    return this.#network.pod({ name: pod.name, address: pod.address, intercept, binds });
  }

  /** After a change of Services, pods or their readiness. */
  update(names: Names): void {
    for (const pod of names.pods) updateHosts(this.#dir(pod), pod, names);
    const rules = names.pods.every((pod) => this.#hasSidecar(pod)) ? [] : serviceRules(servicePorts(names));
    const text = rules.join("\n");
    if (text === this.#rules) return;
    this.#rules = text;
    this.#network
      .services(rules)
      .catch((error: unknown) => this.#log.error("pods without a sidecar may not reach services", { error }));
  }

  #hasSidecar(pod: PodFacts): boolean {
    return this.#sidecars && pod.template.inject;
  }
  #dir(pod: PodFacts): string {
    return join(this.#stateDir, "pods", pod.name);
  }
}

function servicePorts(names: Names): ServicePort[] {
  return names.objects
    .filter((object) => object.kind === "Service")
    .flatMap((service) => {
      const address = names.vip(`${service.metadata.namespace ?? "default"}/${service.metadata.name}`);
      if (address === undefined) return [];
      const pods = endpointsOf(service, names.pods);
      return list(record(service.spec)["ports"]).map((port) => {
        const target = port["targetPort"] ?? port["port"];
        return {
          address,
          port: Number(port["port"]),
          protocol: String(port["protocol"] ?? "TCP").toLowerCase(),
          endpoints: pods.map((pod) => {
            const named = pod.template.ports.find((p) => p.name === target)?.containerPort;
            return `${pod.address.podIp}:${named ?? Number(target)}`;
          }),
        };
      });
    });
}
