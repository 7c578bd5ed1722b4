import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { packResource } from "../any.ts";
import { Cluster_DiscoveryType, ClusterSchema } from "../gen/envoy/config/cluster/v3/cluster_pb.js";
import { NodeSchema } from "../gen/envoy/config/core/v3/base_pb.js";
import { DeltaDiscoveryResponseSchema } from "../gen/envoy/service/discovery/v3/discovery_pb.js";
import { TYPE } from "../type-urls.ts";
import { DeltaClientState } from "./state.ts";

test("bad resources are refused together, good ones kept, followed by EDS, and named on reconnect", () => {
  const state = new DeltaClientState(create(NodeSchema, { id: "n" }), (update) =>
    update.upserts.filter((r) => r.name !== "good").map((r) => ({ name: r.name, message: "no" })),
  );
  state.subscribe(TYPE.cluster, "*");
  expect(state.connect()[0]?.node?.id).toBe("n");
  const clusterDiscoveryType = { case: "type", value: Cluster_DiscoveryType.EDS } as const;
  const resources = ["bad1", "good", "bad2"].map((name) => {
    const packed = packResource(ClusterSchema, name, create(ClusterSchema, { name, clusterDiscoveryType }));
    return { name, version: "v", resource: packed.any };
  });
  const response = create(DeltaDiscoveryResponseSchema, { typeUrl: TYPE.cluster, nonce: "1", resources });
  const [nack, eds] = state.receive(response);
  expect(nack).toMatchObject({ responseNonce: "1", errorDetail: { code: 3, message: "bad1: no\nbad2: no" } });
  expect(eds).toMatchObject({ typeUrl: TYPE.endpoints, resourceNamesSubscribe: ["good"] });
  state.disconnect();
  expect(state.connect()[0]?.initialResourceVersions).toEqual({ good: "v" });
});
