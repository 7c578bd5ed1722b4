import { expect, test } from "vitest";
import type { ListedObject, WorkloadInfo } from "#control-plane/admin/contract.ts";
import { tracedServices } from "./traced-services.ts";

const workload = (pod: string, workload: string, namespace: string, app: string): WorkloadInfo =>
  ({ pod, workload, namespace, labels: { app } }) as unknown as WorkloadInfo;
const workloads = [
  workload("web-v1-0", "web-v1", "default", "web"),
  workload("web-v1-1", "web-v1", "shop", "web"),
  workload("api-0", "api", "shop", "backend"),
];
const services = [
  { name: "front", namespace: "default", object: { spec: { selector: { app: "web" } } } },
  { name: "bare", namespace: "default", object: { spec: {} } },
] as unknown as ListedObject[];
const traced = ["backend.shop", "web.default", "web.shop"];

test.each([
  ["web", ["web.default", "web.shop"]],
  ["web.default", ["web.default"]],
  ["web.default.svc", ["web.default"]],
  ["web.default.svc.cluster.local", ["web.default"]],
  ["web.default.svc.cluster.local.", ["web.default"]],
  ["WEB.default", ["web.default"]],
  ["shop/web", ["web.shop"]],
  ["svc/front", ["web.default"]],
  ["front", ["web.default"]],
  ["front.shop", []],
  ["bare", []],
  ["web-v1", ["web.default", "web.shop"]],
  ["web-v1-1", ["web.shop"]],
  ["deploy/api", ["backend.shop"]],
  ["api.shop", ["backend.shop"]],
  ["nobody", []],
  ["", []],
])("%s means %j", (wanted, expected) => {
  expect(tracedServices(wanted, traced, workloads, services)).toEqual(expected);
});
