/** What the control plane says of the mesh, and each proxy's resources compiled by the sidecar's own code. */

import { fromJson, type JsonValue } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import type { ServiceInfo, WorkloadInfo, WorkloadsAnswer, XdsAnswer } from "#control-plane/admin/contract.ts";
import { configRegistry } from "#sidecar/config/registry.ts";
import { ConfigStore } from "#sidecar/config/store.ts";
import type { Snapshot } from "#sidecar/snapshot.ts";
import { TYPE } from "#xds/index.ts";
import { AdminClient } from "../admin-client.ts";
import { UserError } from "../errors.ts";

export interface ProxyConfig {
  readonly snapshot: Snapshot;
  readonly wire: XdsAnswer;
}

export class MeshView {
  readonly workloads: readonly WorkloadInfo[];
  readonly services: readonly ServiceInfo[];
  readonly #client: AdminClient;
  readonly #configs = new Map<string, Promise<ProxyConfig | null>>();

  constructor(client: AdminClient, answer: WorkloadsAnswer) {
    this.#client = client;
    this.workloads = answer.workloads;
    this.services = answer.services;
  }

  static async of(stateDir: string): Promise<MeshView> {
    const client = AdminClient.controlPlane(stateDir);
    return new MeshView(client, await client.get<WorkloadsAnswer>("/workloads"));
  }

  /** Null: no proxy of this pod is connected. */
  config(pod: WorkloadInfo): Promise<ProxyConfig | null> {
    const id = `${pod.pod}.${pod.namespace}`;
    let config = this.#configs.get(id);
    if (config === undefined) {
      config = this.#client
        .find<XdsAnswer>(`/xds/${encodeURIComponent(id)}`)
        .then((wire) => wire && { wire, snapshot: compile(wire, id) });
      this.#configs.set(id, config);
    }
    return config;
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

function compile(wire: XdsAnswer, proxy: string): Snapshot {
  const unknown = new Set<string>();
  JSON.stringify(wire, (key, value) => {
    if (key === "@type" && typeof value === "string") unknown.add(value.slice(value.lastIndexOf("/") + 1));
    return value;
  });
  const registry = configRegistry(unknown);
  const store = new ConfigStore();
  // Routes before listeners: a listener waits for them.
  for (const typeUrl of [TYPE.cluster, TYPE.endpoints, TYPE.route, TYPE.listener]) {
    const resources = (wire[typeUrl] ?? []).map((json) =>
      fromJson(AnySchema, json as JsonValue, { registry, ignoreUnknownFields: true }),
    );
    const [refused] = store.update({ typeUrl, resources }).refused;
    if (refused !== undefined)
      throw new UserError(`the configuration of ${proxy} is refused: ${refused.name}: ${refused.message}`);
  }
  return store.current;
}
