import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { get } from "node:http";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type Platform, type PlatformObject, type PlatformOptions, startPlatform } from "./index.ts";
import { meshProcesses } from "./leftovers.ts";

let dir: string;
let running: Platform[];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "weft-local-"));
  running = [];
  writeFileSync(
    join(dir, "server.mjs"),
    `import http from "node:http";
     const server = http.createServer((q, s) => s.end(process.env.GREETING + " " + process.pid));
     server.listen(8080, process.env.POD_IP);
     process.on("SIGTERM", () => process.exit(0));`,
  );
});
afterEach(async () => {
  await Promise.all(running.map((p) => p.stop()));
  rmSync(dir, { recursive: true, force: true });
});

function deployment(over: { replicas?: number; greeting?: string; container?: object } = {}): PlatformObject {
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name: "hello" },
    spec: {
      replicas: over.replicas ?? 1,
      template: {
        metadata: { labels: { app: "hello" } },
        spec: {
          containers: [
            {
              name: "main",
              command: ["node", "$(FILE)"],
              env: [
                { name: "FILE", value: "server.mjs" },
                { name: "GREETING", value: over.greeting ?? "hi" },
              ],
              ports: [{ name: "http", containerPort: 8080 }],
              readinessProbe: { httpGet: { path: "/", port: "http" } },
              ...over.container,
            },
          ],
        },
      },
    },
    source: { file: join(dir, "app.yaml"), line: 3 },
  };
}
async function start(objects: PlatformObject[], over: Partial<PlatformOptions> = {}): Promise<Platform> {
  const platform = await startPlatform({
    objects,
    stateDir: join(dir, "s"),
    mode: "explicit",
    dataPlane: "none",
    drainMs: 0,
    ...over,
  });
  running.push(platform);
  await platform.whenReady(20_000);
  return platform;
}
function fetchText(host: string, port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    get({ host, port, agent: false }, (res) => {
      let text = "";
      res.setEncoding("utf8").on("data", (d: string) => {
        text += d;
      });
      res.on("end", () => resolve(text));
    }).on("error", reject);
  });
}
function state(): {
  items: {
    kind: string;
    metadata: { name: string; annotations: Record<string, string> };
    status: { conditions: { status: string }[] };
  }[];
} {
  return JSON.parse(readFileSync(join(dir, "s", "platform.json"), "utf8"));
}
const appAddress = (index = 0): string =>
  state().items.filter((i) => i.kind === "Pod")[index]?.metadata.annotations["weft.dev/app-address"] ?? "";

test("runs a Deployment, tells its pod, scales, replaces, and leaves nothing", async () => {
  const changes = new Set<() => void>();
  const platform = await start([deployment()], { onChange: () => changes.forEach((c) => void c()) });
  await expect.poll(() => state().items[0]?.status.conditions[0]?.status).toBe("True");
  expect(await fetchText(appAddress(), 8080)).toMatch(/^hi \d+$/);

  await platform.update([deployment({ replicas: 3 })]);
  await platform.whenReady();
  expect(platform.status().pods.map((p) => p.name)).toEqual(["hello-0", "hello-1", "hello-2"]);

  await platform.update([deployment({ replicas: 1, greeting: "new" })]);
  await expect.poll(() => platform.status().pods.length, { timeout: 10_000 }).toBe(1);
  await platform.whenReady();
  await expect.poll(() => fetchText(appAddress(), 8080)).toMatch(/^new /);

  await platform.stop();
  expect(meshProcesses(join(dir, "s"))).toEqual([]);
});

test("a killed process comes back", async () => {
  const platform = await start([deployment()]);
  const pid = platform.status().pods[0]?.containers[0]?.pid ?? 0;
  process.kill(pid, "SIGKILL");
  await expect.poll(() => platform.status().pods[0]?.containers[0]?.restarts, { timeout: 10_000 }).toBe(1);
  await platform.whenReady();
  expect(platform.status().pods[0]?.containers[0]).toMatchObject({
    lastExit: "signal SIGKILL",
    state: "running",
  });
});

test("a broken token key is one clear error, and nothing is left running", async () => {
  mkdirSync(join(dir, "s"), { mode: 0o700 });
  for (const broken of ["", "no key"]) {
    writeFileSync(join(dir, "s", "tokens.key"), broken);
    await expect(start([deployment()], { mode: "auto" })).rejects.toThrow(
      /tokens\.key is no ECDSA P-256 private key: remove it, and a new one is made/,
    );
    expect(meshProcesses(join(dir, "s"))).toEqual([]);
  }
});

test("where nothing can be written the mesh runs on, and is told of when it can", async () => {
  const platform = await start([deployment()]);
  const readiness = () => state().items[0]?.status.conditions[0]?.status;
  await expect.poll(readiness).toBe("True");
  mkdirSync(join(dir, "s", "platform.json.new"));
  rmSync(join(dir, "s", "pods", "hello-0", "logs"), { recursive: true });
  writeFileSync(join(dir, "s", "pods", "hello-0", "logs"), "");
  const pid = platform.status().pods[0]?.containers[0]?.pid ?? 0;
  const lives = async (): Promise<boolean> =>
    (await fetchText(appAddress(), 8080).catch(() => "")).startsWith("hi ");
  process.kill(pid, "SIGKILL");
  await expect.poll(() => platform.status().pods[0]?.containers[0]?.restarts, { timeout: 10_000 }).toBe(1);
  await expect.poll(lives, { timeout: 10_000 }).toBe(true);
  expect(JSON.stringify(state())).toContain('"restartCount":0');
  rmSync(join(dir, "s", "platform.json.new"), { recursive: true });
  await expect.poll(() => JSON.stringify(state()), { timeout: 10_000 }).toContain('"restartCount":1');
});

test("a LoadBalancer Service is reachable on 127.0.0.1; a port in use is one clear error", async () => {
  const blocker = createServer();
  const port = await new Promise<number>((resolve) => {
    blocker.listen(0, "127.0.0.1", () => resolve((blocker.address() as { port: number }).port));
  });
  const service: PlatformObject = {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "hello" },
    spec: { type: "LoadBalancer", selector: { app: "hello" }, ports: [{ port, targetPort: "http" }] },
    source: { file: "svc.yaml", line: 1 },
  };
  await expect(start([service])).rejects.toThrow(
    `svc.yaml:1: Service default/hello: port 127.0.0.1:${port} is in use`,
  );
  await new Promise((resolve) => blocker.close(resolve));
  const plain = deployment();
  const template = (plain.spec as { template: { metadata: { annotations?: object } } }).template;
  template.metadata.annotations = { "sidecar.istio.io/inject": "false" };
  await start([service, plain]);
  expect(await fetchText("127.0.0.1", port)).toMatch(/^hi /);
});

test("a container without a command says what to add", async () => {
  const bad = deployment({ container: { command: [], image: "example/hello:1" } });
  await expect(start([bad])).rejects.toThrow(
    /app\.yaml:3: Deployment default\/hello: container main: no "command".*add the program to run/,
  );
});

test("after kill -9 of the supervisor a new start ends what was left; a second start beside a running one is refused", async () => {
  const script = join(dir, "up.ts");
  writeFileSync(
    script,
    `import { startPlatform } from ${JSON.stringify(join(import.meta.dirname, "index.ts"))};
     const p = await startPlatform({ objects: [${JSON.stringify(deployment())}], stateDir: ${JSON.stringify(join(dir, "s"))}, mode: "explicit", dataPlane: "none" });
     await p.whenReady();
     console.log("ready");`,
  );
  const child: ChildProcess = spawn(process.execPath, [script], { stdio: ["ignore", "pipe", "inherit"] });
  await new Promise<void>((resolve) => child.stdout?.once("data", () => resolve()));
  const left = meshProcesses(join(dir, "s"));
  expect(left).toHaveLength(1);
  await expect(start([deployment()])).rejects.toThrow(
    `a mesh already runs in ${join(dir, "s")} (pid ${child.pid})`,
  );
  const exited = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGKILL");
  await exited;
  await start([deployment()]);
  expect(meshProcesses(join(dir, "s"))).not.toContain(left[0]);
});
