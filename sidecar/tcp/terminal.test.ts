import { PassThrough } from "node:stream";
import { expect, test } from "vitest";
import type { Accepted } from "../inbound.ts";
import type { Snapshot, TcpConfig, WeightedCluster } from "../snapshot.ts";
import { pickWeighted, serveTcp, type TcpEnd } from "./terminal.ts";

const weighted = (name: string, weight: number): WeightedCluster => ({
  name,
  weight,
  headers: null,
  hostRewrite: null,
});

test("weights decide, zero weight never", () => {
  const clusters = [weighted("zero", 0), weighted("a", 90), weighted("b", 10)];
  expect(pickWeighted(clusters, () => 0)).toBe("a");
  expect(pickWeighted(clusters, () => 0.89)).toBe("a");
  expect(pickWeighted(clusters, () => 0.91)).toBe("b");
  expect(pickWeighted([], () => 0)).toBe("");
});

test("an unknown cluster closes the connection with NC", () => {
  const downstream = new PassThrough();
  const config: TcpConfig = {
    kind: "tcp",
    clusters: [weighted("gone", 1)],
    idleTimeoutMs: 0,
    accessLog: [],
  };
  const ends: TcpEnd[] = [];
  const empty = { clusters: new Map() } as unknown as Snapshot;
  const accepted = { stream: downstream } as unknown as Accepted;
  serveTcp(accepted, config, empty, null, "cluster.local", {
    onOpen: () => {},
    onEnd: (end) => void ends.push(end),
  });
  expect(ends).toMatchObject([{ cluster: "gone", flag: "NC" }]);
  expect(downstream.destroyed).toBe(true);
});
