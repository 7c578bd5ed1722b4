import { expect, test } from "vitest";
import { UserError } from "./errors.ts";
import { knownKind, plural, resourceName, SHORT_NAMES, wantedObjects } from "./kind-names.ts";

test.each([
  ["po", "Pod", null],
  ["pods", "Pod", null],
  ["POD", "Pod", null],
  ["deployments.apps", "Deployment", "apps"],
  ["deployment.v1.apps", "Deployment", "apps"],
  ["networkpolicies", null, null],
  ["gatewayclasses", "GatewayClass", null],
  ["gateways.networking.istio.io", "Gateway", "networking.istio.io"],
  ["gateways.v1beta1.gateway.networking.k8s.io", "Gateway", "gateway.networking.k8s.io"],
  ["gtw", "Gateway", "gateway.networking.k8s.io"],
  ["deployments.batch", null, null],
])("%s is %s of %s", (typed, kind, group) => {
  if (kind === null) expect(() => knownKind(typed)).toThrow(UserError);
  else expect(knownKind(typed)).toEqual({ kind, group });
});

test("every short name means a kind", () => {
  for (const short of Object.keys(SHORT_NAMES)) expect(knownKind(short).kind).toBe(SHORT_NAMES[short]);
});

test("an unknown kind says what may be meant", () => {
  expect(() => knownKind("deploymnt")).toThrow(/there is no kind "deploymnt"; did you mean "deployment"\?/);
  expect(() => knownKind("virtualservces")).toThrow(/did you mean "virtualservices"\?/);
  expect(() => knownKind("foo")).toThrow(/known are AuthorizationPolicy/);
  expect(() => knownKind("constructor")).toThrow(UserError);
});

test("objects are named in kubectl's ways, and mixtures are refused", () => {
  const names = (...words: string[]) => wantedObjects(words).map(({ kind, name }) => `${kind}/${name}`);
  expect(names("po,svc")).toEqual(["Pod/null", "Service/null"]);
  expect(names("po,svc", "web")).toEqual(["Pod/web", "Service/web"]);
  expect(names("deploy/web", "svc/api")).toEqual(["Deployment/web", "Service/api"]);
  expect(names("pods", "a", "b")).toEqual(["Pod/a", "Pod/b"]);
  expect(names("all")).toContain("Deployment/null");
  for (const words of [["deploy/web", "api"], ["deploy", "svc/api"], ["deploy/"], ["a/b/c"]])
    expect(() => wantedObjects(words)).toThrow(UserError);
});

test("names of resources are kubectl's", () => {
  expect(["PeerAuthentication", "AuthorizationPolicy", "GatewayClass", "Gateway"].map(plural)).toEqual([
    "peerauthentications",
    "authorizationpolicies",
    "gatewayclasses",
    "gateways",
  ]);
  expect([resourceName("Deployment", "apps/v1"), resourceName("Pod", "v1")]).toEqual([
    "deployment.apps",
    "pod",
  ]);
});
