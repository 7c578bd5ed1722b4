/** What the control plane says of the mesh, and each proxy's resources compiled by the sidecar's own code. */

import { fromJson, type JsonValue, toJson } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import type { ServiceInfo, WorkloadInfo, WorkloadsAnswer, XdsAnswer } from "#control-plane/admin/contract.ts";
import { configRegistry } from "#sidecar/config/registry.ts";
import { ConfigStore } from "#sidecar/config/store.ts";
import type { Snapshot } from "#sidecar/snapshot.ts";
import { TYPE } from "#xds/index.ts";
import { AdminClient } from "../admin-client.ts";
import { UserError } from "../errors.ts";
import type { Step } from "./contract.ts";
import { lagOf, runningIn } from "./running.ts";

export interface ProxyConfig {
  readonly snapshot: Snapshot;
  readonly wire: XdsAnswer;
  /** Said where this is not the newest that the control plane has for the proxy; null: it is. */
  readonly lag: Step | null;
}

export class MeshView {
  readonly workloads: readonly WorkloadInfo[];
  readonly services: readonly ServiceInfo[];
  readonly #client: AdminClient;
  readonly #stateDir: string;
  readonly #configs = new Map<string, Promise<ProxyConfig | null>>();

  constructor(client: AdminClient, stateDir: string, answer: WorkloadsAnswer) {
    this.#client = client;
    this.#stateDir = stateDir;
    this.workloads = answer.workloads;
    this.services = answer.services;
  }

  static async of(stateDir: string): Promise<MeshView> {
    const client = AdminClient.controlPlane(stateDir);
    return new MeshView(client, stateDir, await client.get<WorkloadsAnswer>("/workloads"));
  }

  /** Null: no proxy of this pod is connected. */
  config(pod: WorkloadInfo): Promise<ProxyConfig | null> {
    const id = `${pod.pod}.${pod.namespace}`;
    let config = this.#configs.get(id);
    if (config === undefined) {
      config = this.#ask(pod.pod, id);
      this.#configs.set(id, config);
    }
    return config;
  }

  async #ask(pod: string, id: string): Promise<ProxyConfig | null> {
    const lag = await lagOf(this.#client, id);
    const sent = await this.#client.find<XdsAnswer>(`/xds/${encodeURIComponent(id)}`);
    if (sent === null) return null;
    if (lag === null) return { ...compile(sent, id), lag };
    try {
      const dump = await AdminClient.proxy(this.#stateDir, pod).get<unknown>("/config_dump?include_eds");
      return { ...compile(runningIn(dump), id), lag };
    } catch (error) {
      const text = `what it runs cannot be asked (${(error as Error).message}): what it was sent decides`;
      return {
        ...compile(sent, id),
        lag: { ...lag, details: [...lag.details, { text, place: null }] },
      };
    }
  }

  at(address: string): WorkloadInfo | undefined {
    return this.workloads.find((w) => w.ip === address);
  }

  /** What a name means to a client of this namespace: a Service, and the address of the one pod of it that is meant. */
  lookup(name: string, namespace: string): { service: ServiceInfo; address: string | null } | null {
    const host = name.replace(/\.$/, "").toLowerCase();
    for (const service of this.services) {
      const names = namesOf(service, namespace);
      if (names.includes(host) || service.addresses.includes(host)) {
        const [instance] = service.instances;
        const own = service.addresses.find((a) => !a.includes("/"));
        return { service, address: own ?? instance?.address ?? null };
      }
      const pod = service.instances.find((i) => names.some((n) => host === `${i.name}.${n}`));
      if (pod !== undefined) return { service, address: pod.address };
    }
    return null;
  }
}

function namesOf({ host, name, namespace, aliases }: ServiceInfo, from: string): string[] {
  const domain = host.startsWith(`${name}.${namespace}.svc`)
    ? host.slice(name.length + namespace.length + 2)
    : "";
  const forms = (a: { name: string; namespace: string }): string[] => {
    const short = `${a.name}.${a.namespace}`;
    const long = [short, `${short}.svc`, `${short}.svc.cluster.local`];
    return a.namespace === from ? [a.name, ...long] : long;
  };
  const own = domain === "" ? [] : forms({ name, namespace });
  return [host, ...own, ...aliases.flatMap(forms)];
}

function compile(given: XdsAnswer, proxy: string): Pick<ProxyConfig, "snapshot" | "wire"> {
  // A proxy's dump has the names of fields in the other of the two ways.
  const wire: Record<string, JsonValue[]> = {};
  const unknown = new Set<string>();
  JSON.stringify(given, (key, value) => {
    if (key === "@type" && typeof value === "string") unknown.add(value.slice(value.lastIndexOf("/") + 1));
    return value;
  });
  const registry = configRegistry(unknown);
  const store = new ConfigStore();
  // Routes before listeners: a listener waits for them.
  for (const typeUrl of [TYPE.cluster, TYPE.endpoints, TYPE.route, TYPE.listener]) {
    const resources = (given[typeUrl] ?? []).map((json) =>
      fromJson(AnySchema, json as JsonValue, { registry, ignoreUnknownFields: true }),
    );
    wire[typeUrl] = resources.map((any) => toJson(AnySchema, any, { registry }));
    const [refused] = store.update({ typeUrl, resources }).refused;
    if (refused !== undefined)
      throw new UserError(`the configuration of ${proxy} is refused: ${refused.name}: ${refused.message}`);
  }
  return { snapshot: store.current, wire };
}
