/** What the control plane says of the mesh, and each proxy's resources compiled by the sidecar's own code. */
import { fromJson, type JsonValue } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import type { ServiceInfo, WorkloadInfo, WorkloadsAnswer, XdsAnswer } from "#control-plane/admin/contract.ts";
import { configRegistry } from "#sidecar/config/registry.ts";
import { ConfigStore, TYPE_URL } from "#sidecar/config/store.ts";
import type { Snapshot } from "#sidecar/snapshot.ts";
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

  /** The Service that a name means to a client of this namespace. */
  service(name: string, namespace: string): ServiceInfo | undefined {
    const host = name.replace(/\.$/, "").toLowerCase();
    return this.services.find(
      (s) =>
        s.host === host ||
        s.addresses.includes(host) ||
        (s.host.startsWith(`${s.name}.${s.namespace}.svc`) &&
          ((host === s.name && s.namespace === namespace) ||
            host === `${s.name}.${s.namespace}` ||
            host === `${s.name}.${s.namespace}.svc`)),
    );
  }
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
  for (const typeUrl of [TYPE_URL.cluster, TYPE_URL.endpoints, TYPE_URL.routes, TYPE_URL.listener]) {
    const resources = (wire[typeUrl] ?? []).map((json) =>
      fromJson(AnySchema, json as JsonValue, { registry, ignoreUnknownFields: true }),
    );
    const [refused] = store.update({ typeUrl, resources }).refused;
    if (refused !== undefined)
      throw new UserError(`the configuration of ${proxy} is refused: ${refused.name}: ${refused.message}`);
  }
  return store.current;
}
