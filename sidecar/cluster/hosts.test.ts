import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { ClusterLoadAssignmentSchema } from "#xds/gen/envoy/config/endpoint/v3/endpoint_pb.js";
import { NO_HOSTS, updateHosts } from "./hosts.ts";

function assignment(...addresses: string[]) {
  return create(ClusterLoadAssignmentSchema, {
    endpoints: [
      {
        lbEndpoints: addresses.map((address) => ({
          hostIdentifier: {
            case: "endpoint" as const,
            value: {
              address: {
                address: {
                  case: "socketAddress" as const,
                  value: { address, portSpecifier: { case: "portValue" as const, value: 80 } },
                },
              },
            },
          },
        })),
      },
    ],
  });
}

test("a host stays the same object while its address stays; a host that went is marked", () => {
  const before = updateHosts(NO_HOSTS, assignment("10.0.0.1", "10.0.0.2"));
  const after = updateHosts(before, assignment("10.0.0.2", "10.0.0.3"));
  expect(after.hosts[0]).toBe(before.hosts[1]);
  expect(before.hosts[0]?.removed).toBe(true);
  expect(after.hosts.map((host) => host.removed)).toEqual([false, false]);
});
