import { fromJson, type JsonValue } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import type {
  ListedObject,
  ObjectsAnswer,
  ServiceInfo,
  WorkloadInfo,
  WorkloadsAnswer,
  XdsAnswer,
} from "#control-plane/admin/contract.ts";
import { configRegistry } from "#sidecar/config/registry.ts";
import { ConfigStore, TYPE_URL } from "#sidecar/config/store.ts";
import type { Snapshot } from "#sidecar/snapshot.ts";
import type { AdminClient } from "../admin-client.ts";
import { UserError } from "../errors.ts";

/** What explain looks at: the pods and services, and the very configuration that the proxies were given. */
export interface MeshView {
  readonly workloads: readonly WorkloadInfo[];
  readonly services: readonly ServiceInfo[];
  /** Services of type LoadBalancer: the doors from outside. */
  readonly doors: readonly ListedObject[];
  snapshot(workload: WorkloadInfo): Promise<Snapshot>;
}

export async function readMesh(admin: AdminClient): Promise<MeshView> {
  const { workloads, services } = await admin.get<WorkloadsAnswer>("/workloads");
  const { objects } = await admin.get<ObjectsAnswer>("/objects?kind=Service");
  const doors = objects.filter(
    ({ object }) => (object["spec"] as { type?: string })?.type === "LoadBalancer",
  );
  const known = new Map<string, Promise<Snapshot>>();
  return {
    workloads,
    services,
    doors,
    snapshot(workload) {
      const name = `${workload.pod}.${workload.namespace}`;
      const found = known.get(name) ?? compile(admin, name);
      known.set(name, found);
      return found;
    },
  };
}

/** The proxy's resources, compiled as the sidecar compiles them. */
async function compile(admin: AdminClient, name: string): Promise<Snapshot> {
  const types = await admin.get<XdsAnswer>(`/xds/${encodeURIComponent(name)}`);
  const store = new ConfigStore();
  const registry = configRegistry();
  for (const typeUrl of [TYPE_URL.cluster, TYPE_URL.endpoints, TYPE_URL.routes, TYPE_URL.listener]) {
    const resources = (types[typeUrl] ?? []).map((json) =>
      fromJson(AnySchema, json as JsonValue, { registry, ignoreUnknownFields: true }),
    );
    const { refused } = store.update({ typeUrl, resources });
    const [first] = refused;
    if (first !== undefined)
      throw new UserError(`the configuration of ${name} is not understood: ${first.name}: ${first.message}`);
  }
  return store.current;
}
