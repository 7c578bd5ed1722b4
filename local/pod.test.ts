import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { importSPKI, jwtVerify } from "jose";
import { afterEach, expect, test } from "vitest";
import { systemClock } from "#lib/clock.ts";
import { hostNetwork } from "./network/network.ts";
import { Pod } from "./pod.ts";
import { readTemplate } from "./spec.ts";
import { Tokens } from "./tokens.ts";

const dir = mkdtempSync(join(tmpdir(), "weft-pod-"));
let pod: Pod | undefined;
afterEach(async () => {
  await pod?.stop(0);
  rmSync(dir, { recursive: true, force: true });
});

test("the app starts after its proxy is ready, with the proxy in its environment; the token names the workload", async () => {
  // The least that a proxy is to the platform: /ready on the admin socket of its config file.
  const proxy = join(dir, "proxy.mjs");
  writeFileSync(
    proxy,
    `import fs from "node:fs"; import http from "node:http";
     const config = JSON.parse(fs.readFileSync(process.argv[3], "utf8"));
     http.createServer((q, s) => { fs.writeFileSync(${JSON.stringify(join(dir, "asked"))}, q.url); s.end(); }).listen(config.admin.slice(5));
     process.on("SIGTERM", () => process.exit(0));`,
  );
  const app = `const fs = require("fs"); fs.writeFileSync("env.new", JSON.stringify({ asked: fs.existsSync("asked"), ...process.env }));
    fs.renameSync("env.new", "env.json"); setInterval(() => {}, 1000);`;
  const template = readTemplate(
    {
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name: "a" },
      source: { file: join(dir, "a.yaml"), line: 1 },
    },
    {},
    { serviceAccountName: "robot", containers: [{ name: "main", command: ["node", "-e", app] }] },
  );
  const tokens = new Tokens(dir);
  const address = { podIp: "127.0.1.19", appIp: "127.0.2.19", servicePrefix: "127.19" };
  pod = new Pod({
    name: "a",
    id: "a",
    template,
    address,
    network: () => Promise.resolve(hostNetwork(address)),
    stateDir: dir,
    trustDomain: "cluster.local",
    proxyCommand: [process.execPath, proxy],
    projectDir: dir,
    tokens,
    clock: systemClock,
    serviceEnv: { REVIEWS_SERVICE_HOST: "127.19.0.10" },
    changed: () => {},
    forgotten: () => Promise.resolve(),
  });
  await pod.start();
  const read = (): Record<string, unknown> => {
    try {
      return JSON.parse(readFileSync(join(dir, "env.json"), "utf8"));
    } catch {
      return {};
    }
  };
  await expect.poll(read, { timeout: 10_000 }).toMatchObject({
    asked: true,
    HTTP_PROXY: "http://127.19.0.1:15001",
    NODE_USE_ENV_PROXY: "1",
    POD_IP: "127.0.2.19",
    REVIEWS_SERVICE_HOST: "127.19.0.10",
  });
  expect(pod.ready).toBe(true);
  expect(JSON.parse(readFileSync(join(dir, "pods", "a", "proxy.json"), "utf8")).node).toMatchObject({
    id: "sidecar~127.0.1.19~a.default~default.svc.cluster.local",
    metadata: { SERVICE_ACCOUNT: "robot", INTERCEPTION_MODE: "NONE" },
  });
  expect(statSync(join(dir, "tokens.key")).mode & 0o777).toBe(0o600);
  const key = await importSPKI(readFileSync(tokens.publicKeyFile, "utf8"), "ES256");
  const { payload } = await jwtVerify(readFileSync(join(dir, "pods", "a", "token"), "utf8"), key, {
    audience: "istio-ca",
  });
  expect(payload.sub).toBe("system:serviceaccount:default:robot");
});
