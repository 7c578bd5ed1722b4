/** A stock Envoy takes the resources of every case: nothing that the goldens show is refused (NACK). */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Server, ServerCredentials } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { Authority } from "#certs/authority/index.ts";
import { addCaService } from "#control-plane/ca/index.ts";
import { AdsServer } from "#control-plane/serve/ads.ts";
import { createLogger } from "#lib/log.ts";
import { findEnvoy } from "#test/harness/envoy.ts";
import { TYPE } from "#xds/index.ts";
import { cases, readWorld, resourcesOf } from "./case.ts";

const envoy = findEnvoy();
const namespaces = spawnSync("unshare", ["-Urn", "ip", "link", "set", "lo", "up"]).status === 0;
const missing =
  "missing" in envoy
    ? envoy.missing
    : namespaces
      ? ""
      : "needs unprivileged user and network namespaces, and ip: apt install iproute2";
if (missing !== "" && process.env["CI"]) throw new Error(`in CI nothing may be missing: ${missing}`);

const PODS = ["page-0", "reviews-v1-0", "gate-0"];
const log = createLogger("test", "silent");

describe.skipIf(missing !== "")(`a stock Envoy${missing === "" ? "" : ` (skipped: ${missing})`}`, () => {
  let folder = "";
  let server: Server;
  let world = readWorld(cases[0]!).world;
  const agents: ChildProcess[] = [];
  const logs = new Map<string, string>();
  const podOf = (nodeId: string): string => nodeId.split("~")[2]!.split(".")[0]!;
  const nodeOf = (pod: string): string => {
    const { ip } = world.workloads.find((w) => w.pod === pod)!;
    return `sidecar~${ip}~${pod}.default~default.svc.cluster.local`;
  };
  const ads = new AdsServer({ onConnect: (node) => resourcesOf(world, podOf(node.id), "envoy-stock"), log });

  const settled = async (): Promise<void> => {
    const state = () =>
      PODS.map((pod) => {
        const proxy = ads.status().find((p) => podOf(p.nodeId) === pod);
        const types = [TYPE.cluster, TYPE.endpoints, TYPE.listener].map((type) => proxy?.types[type]);
        const all = [...types, ...(proxy?.types[TYPE.route] ? [proxy.types[TYPE.route]] : [])];
        const nack = all.find((t) => t?.nack !== undefined)?.nack;
        if (nack !== undefined) return `${pod}: ${nack}`;
        return all.every((t) => t !== undefined && t.nonceAcked === t.nonceSent)
          ? "accepted"
          : `${pod}: waiting`;
      });
    try {
      await vi.waitFor(() => expect(state().filter((s) => s.endsWith(": waiting"))).toEqual([]), {
        timeout: 50_000,
      });
    } catch {
      const said = [...logs].map(([pod, text]) => `${pod}: ${text.slice(-1000)}`);
      throw new Error([...state(), JSON.stringify(ads.status()), ...said].join(" | "));
    }
    expect(state()).toEqual(PODS.map(() => "accepted"));
  };

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "weft-pipeline-"));
    server = new Server();
    ads.register(server);
    addCaService(server, {
      authority: Authority.open(join(folder, "ca"), "cluster.local"),
      authenticate: async () => ({
        namespace: "default",
        serviceAccount: "any",
        spiffeId: "spiffe://cluster.local/ns/default/sa/any",
      }),
      defaultTtlSeconds: 3600,
      log,
    });
    const address = `unix:${join(folder, "xds.sock")}`;
    await new Promise<void>((done, fail) =>
      server.bindAsync(address, ServerCredentials.createInsecure(), (e) => (e ? fail(e) : done())),
    );
    writeFileSync(join(folder, "token"), "a.b.c\n");
    for (const pod of PODS) {
      // Envoy's bootstrap stands beside its configuration.
      mkdirSync(join(folder, pod));
      const config = join(folder, pod, "proxy.json");
      writeFileSync(
        config,
        JSON.stringify({
          node: { id: nodeOf(pod), cluster: `${pod}.default`, metadata: {} },
          discovery: { address, tokenFile: join(folder, "token") },
          trustDomain: "cluster.local",
          admin: `unix:${join(folder, pod, "admin")}`,
          sds: `unix:${join(folder, pod, "sds")}`,
          logLevel: "warn",
          drainSeconds: 0,
        }),
      );
      const main = join(import.meta.dirname, "../../sidecar/envoy/main.ts");
      // Listeners bind what they name, in a network of their own.
      const { ip } = world.workloads.find((w) => w.pod === pod)!;
      const script = `ip link set lo up && ip addr add ${ip}/32 dev lo && exec "$@"`;
      const command = [
        process.execPath,
        main,
        "--config",
        config,
        "--envoy",
        "path" in envoy ? envoy.path : "",
      ];
      const agent = spawn("unshare", ["-Urn", "sh", "-c", script, "sh", ...command], {
        stdio: ["ignore", "pipe", "pipe"],
      });
      for (const stream of [agent.stdout, agent.stderr])
        stream?.on("data", (chunk: Buffer) => logs.set(pod, (logs.get(pod) ?? "") + chunk));
      agents.push(agent);
    }
    await settled();
  }, 60_000);

  afterAll(async () => {
    const ended = agents.map((agent) => new Promise((done) => agent.once("exit", done)));
    for (const agent of agents) agent.kill("SIGTERM"); // SIGKILL would leave Envoy behind
    await Promise.all(ended);
    server.forceShutdown();
    rmSync(folder, { recursive: true, force: true });
  });

  test.each(cases)(
    "accepts %s",
    async (name) => {
      world = readWorld(name).world;
      for (const pod of PODS) ads.push(nodeOf(pod), resourcesOf(world, pod, "envoy-stock"));
      await settled();
    },
    60_000,
  );
});
