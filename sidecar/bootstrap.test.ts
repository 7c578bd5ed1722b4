import { expect, test } from "vitest";
import { type BootstrapError, parseBootstrap, parseListenAddress } from "./bootstrap.ts";

const minimal = {
  node: { id: "sidecar~127.0.1.1~a.default~default.svc.cluster.local", cluster: "a.default" },
  discovery: { address: "unix:/run/xds.sock" },
};

test("fills in defaults and freezes deeply", () => {
  const b = parseBootstrap(JSON.stringify(minimal));
  expect(b.admin).toEqual({ kind: "tcp", host: "127.0.0.1", port: 15000 });
  expect(b.drainSeconds).toBe(5);
  expect(Object.isFrozen(b.node.metadata)).toBe(true);
});

test("names every problem at once, and refuses unknown keys at each level", () => {
  const text = JSON.stringify({
    ...minimal,
    node: { ...minimal.node, idd: 1 },
    surprise: true,
    statusPort: 70000,
    logLevel: "loud",
    admin: "nowhere",
  });
  let problems: readonly string[] = [];
  try {
    parseBootstrap(text, "p.json");
  } catch (error) {
    problems = (error as BootstrapError).problems;
  }
  expect(problems).toHaveLength(5);
  expect(problems.join("\n")).toContain('unknown key "surprise"');
  expect(problems.join("\n")).toContain('node: unknown key "idd"');
});

test("addresses", () => {
  expect(parseListenAddress("[::1]:80")).toEqual({ kind: "tcp", host: "::1", port: 80 });
  expect(parseListenAddress("127.0.0.1:99999")).toBeNull();
  expect(parseListenAddress("unix:")).toBeNull();
});
