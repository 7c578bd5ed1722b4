import { join } from "node:path";
import type { Logger } from "#lib/log.ts";
import { list, record } from "../object.ts";
import type { PodFacts } from "../platform-state.ts";
import { endpointsOf, type Names } from "./names.ts";
import type { MeshNetwork, PodNetwork } from "./network.ts";
import { podFiles, updateHosts } from "./pod-files.ts";
import { type ServicePort, serviceRules } from "./rules.ts";
import { outsideAliases } from "./service-names.ts";

interface Wanted {
  readonly rules: readonly string[];
  readonly aliases: readonly (readonly [string, string])[];
}

/**
 * What pods see of their mesh in transparent mode: names, and the addresses of Services, which also work where no sidecar
 * knows them: for pods without one, and for what a sidecar passes through.
 */
export class MeshView {
  readonly #network: MeshNetwork;
  readonly #stateDir: string;
  readonly #sidecars: boolean;
  readonly #log: Logger;
  #told = "";
  #wanted: Wanted | null = null;
  #writing = false;

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
    return this.#network.pod({ name: pod.id, address: pod.address, intercept, binds });
  }

  /** After a change of Services, pods or their readiness. */
  update(names: Names): void {
    for (const pod of names.pods) updateHosts(this.#dir(pod), pod, names);
    const wanted = { rules: serviceRules(servicePorts(names)), aliases: outsideAliases(names.objects) };
    const text = JSON.stringify(wanted);
    if (text === this.#told) return;
    this.#told = text;
    this.#wanted = wanted;
    if (!this.#writing) void this.#write();
  }

  /** One at a time, and of many changes in a row the last. */
  async #write(): Promise<void> {
    this.#writing = true;
    while (this.#wanted !== null) {
      const { rules, aliases } = this.#wanted;
      this.#wanted = null;
      try {
        await this.#network.services(rules, aliases);
      } catch (error) {
        this.#log.error("addresses of Services do not work past the proxies", { error });
      }
    }
    this.#writing = false;
  }

  #hasSidecar(pod: PodFacts): boolean {
    return this.#sidecars && pod.template.inject;
  }
  #dir(pod: PodFacts): string {
    return join(this.#stateDir, "pods", pod.id);
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
