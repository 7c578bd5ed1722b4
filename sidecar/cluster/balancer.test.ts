import { expect, test } from "vitest";
import type { Cluster, Host } from "../snapshot.ts";
import { pickHost } from "./balancer.ts";
import { newHost } from "./hosts.ts";

const host = (port: number, more: Partial<Host> = {}): Host =>
  Object.assign(newHost({ address: "10.0.0.1", port, pipe: null }), more);

function cluster(priorities: Host[][], more: Partial<Cluster> = {}): Cluster {
  const rest = { lbPolicy: "RANDOM", leastRequestChoices: 2, healthyPanicThreshold: 50, ...more };
  return { name: "c", overprovisioningFactor: 140, priorities, hosts: priorities.flat(), ...rest } as Cluster;
}

/** How often each port is picked over an even sweep of the dice. */
function picks(of: Cluster, avoid: Host[] = [], sweep = 1000): Record<number, number> {
  const count: Record<number, number> = {};
  for (let i = 0; i < sweep; i++) {
    const port = pickHost(of, avoid, () => i / sweep)?.port ?? 0;
    count[port] = (count[port] ?? 0) + 1;
  }
  return count;
}

test("no host, one host, a host to avoid only while there are others", () => {
  const [a, b] = [host(1), host(2)];
  expect(pickHost(cluster([]))).toBe(null);
  expect(picks(cluster([[a]]), [a])).toEqual({ 1: 1000 });
  expect(picks(cluster([[a, b]]), [a])).toEqual({ 2: 1000 });
});

test("weights; equal ones make least-request look at two and take the idler", () => {
  expect(picks(cluster([[host(1, { weight: 9 }), host(2)]]))).toEqual({ 1: 900, 2: 100 });
  const busy = cluster([[host(1, { activeRequests: 5 }), host(2)]], { lbPolicy: "LEAST_REQUEST" });
  let dice = 0;
  expect(pickHost(busy, [], () => (dice++ % 2 === 0 ? 0 : 0.9))?.port).toBe(2);
});

test("round robin goes on where it stopped, by weight", () => {
  const of = cluster([[host(1, { weight: 2 }), host(2)]], { lbPolicy: "ROUND_ROBIN", name: "rr" });
  expect([1, 2, 3, 4, 5, 6].map(() => pickHost(of)?.port)).toEqual([1, 1, 2, 1, 1, 2]);
});

test("unhealthy and ejected hosts get nothing, unless too few are left", () => {
  const later = performance.now() + 60_000;
  const of = cluster([
    [host(1, { health: "UNHEALTHY" }), host(2, { ejectedUntilMs: later }), host(3), host(4)],
  ]);
  expect(picks(of)).toEqual({ 3: 500, 4: 500 });
  const panic = cluster([[host(1, { health: "UNHEALTHY" }), host(2, { ejectedUntilMs: later }), host(3)]]);
  expect(Object.keys(picks(panic))).toEqual(["1", "2", "3"]);
  const calm = cluster([[host(1, { health: "UNHEALTHY" }), host(3)]], { healthyPanicThreshold: 0 });
  expect(picks(calm)).toEqual({ 3: 1000 });
});

test("the next priority takes what the first cannot bear", () => {
  const first = [host(1), host(2, { health: "UNHEALTHY" }), host(3, { health: "UNHEALTHY" })];
  const level = picks(cluster([first, [host(9)]], { healthyPanicThreshold: 0 }));
  expect(level[1]! / 10).toBeCloseTo(140 / 3, 0);
  expect(level[9]! / 10).toBeCloseTo(100 - 140 / 3, 0);
});
