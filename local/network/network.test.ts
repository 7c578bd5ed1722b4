/** Real namespaces: what a killed mesh leaves, meshes beside each other, and all of it without root. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import {
  chownSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { get } from "node:http";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { noNamespaces } from "#test/harness/namespaces.ts";
import { type Platform, type PlatformObject, startPlatform, stopRunning } from "../index.ts";
import { meshProcesses } from "../leftovers.ts";
import type { Mode } from "../mode.ts";

const ROOT = join(import.meta.dirname, "../..");
const NOBODY = 65534;
const missing = noNamespaces();
if (missing !== "" && process.env["CI"]) throw new Error(`in CI nothing may be missing: ${missing}`);

let dir: string;
let running: Platform[];
let children: ChildProcess[];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "wf-net-"));
  running = [];
  children = [];
  writeFileSync(
    join(dir, "server.mjs"),
    `import http from "node:http";
     http.createServer((q, s) => s.end(process.env.GREETING)).listen(8080, process.env.POD_IP);
     process.on("SIGTERM", () => process.exit(0));`,
  );
});
afterEach(async () => {
  for (const child of children) child.kill("SIGKILL");
  await Promise.all(running.map((platform) => platform.stop()));
  rmSync(dir, { recursive: true, force: true });
});

function objects(port: number, greeting: string): PlatformObject[] {
  const source = { file: join(dir, "app.yaml"), line: 1 };
  const container = {
    name: "main",
    command: ["node", "server.mjs"],
    env: [{ name: "GREETING", value: greeting }],
    ports: [{ containerPort: 8080 }],
    readinessProbe: { httpGet: { path: "/", port: 8080 } },
  };
  return [
    {
      apiVersion: "apps/v1",
      kind: "Deployment",
      metadata: { name: "hello" },
      spec: {
        replicas: 2,
        template: { metadata: { labels: { app: "hello" } }, spec: { containers: [container] } },
      },
      source,
    },
    {
      apiVersion: "v1",
      kind: "Service",
      metadata: { name: "hello" },
      spec: { type: "LoadBalancer", selector: { app: "hello" }, ports: [{ port, targetPort: 8080 }] },
      source,
    },
  ];
}

async function start(state: string, port: number, mode: Mode = "transparent"): Promise<Platform> {
  const platform = await startPlatform({
    objects: objects(port, state),
    stateDir: join(dir, state),
    mode,
    dataPlane: "none",
    drainMs: 0,
  });
  running.push(platform);
  await platform.whenReady(20_000);
  return platform;
}

/** A supervisor that a test may kill; resolves when its mesh is ready. */
async function startElsewhere(state: string, port: number): Promise<ChildProcess> {
  const script = join(dir, "up.ts");
  const options = {
    objects: objects(port, state),
    stateDir: join(dir, state),
    mode: "transparent",
    dataPlane: "none",
  };
  writeFileSync(
    script,
    `import { startPlatform } from ${JSON.stringify(join(ROOT, "local/index.ts"))};
     const platform = await startPlatform(${JSON.stringify(options)});
     await platform.whenReady();
     console.log("ready");`,
  );
  const child = spawn(process.execPath, [script], { stdio: ["ignore", "pipe", "inherit"] });
  children.push(child);
  await once(child.stdout!, "data");
  return child;
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address() as AddressInfo;
  await new Promise((done) => probe.close(done));
  return port;
}

function fetchText(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    get({ host: "127.0.0.1", port, agent: false }, (response) => {
      let text = "";
      response.on("data", (piece) => (text += piece));
      response.on("end", () => resolve(text));
    }).on("error", reject);
  });
}

/** The network namespaces in which processes of the mesh are, besides ours. */
function namespaces(state: string): string[] {
  const links = meshProcesses(join(dir, state)).flatMap((pid) => {
    try {
      return [readlinkSync(`/proc/${pid}/ns/net`)];
    } catch {
      return []; // it has ended since
    }
  });
  return [...new Set(links)].filter((link) => link !== readlinkSync("/proc/self/ns/net"));
}

/** A process may have ended since it was listed. */
function holderOf(pids: readonly number[]): number | undefined {
  return pids.find((pid) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("holder.ts");
    } catch {
      return false;
    }
  });
}

describe.skipIf(missing !== "")(`transparent mode${missing === "" ? "" : ` (skipped: ${missing})`}`, () => {
  test("meshes side by side, with the same addresses and in both modes, do not disturb each other", async () => {
    const ports = [await freePort(), await freePort(), await freePort()] as const;
    const [first, second, explicit] = await Promise.all([
      start("first", ports[0]),
      start("second", ports[1]),
      start("third", ports[2], "explicit"),
    ]);
    const addresses = (platform: Platform): string[] => platform.status().pods.map((pod) => pod.podIp);
    expect(addresses(first)).toEqual(addresses(second));
    expect(explicit.status().mode).toBe("explicit");
    expect(await Promise.all(ports.map(fetchText))).toEqual(["first", "second", "third"]);

    const mounts = readFileSync("/proc/self/mounts", "utf8");
    expect(mounts).not.toContain(dir);
    await first.stop();
    expect(meshProcesses(join(dir, "first"))).toEqual([]);
    expect(readdirSync(join(dir, "first")).filter((name) => name.endsWith(".sock"))).toEqual([]);
    await expect(fetchText(ports[0])).rejects.toThrow();
    expect(await fetchText(ports[1])).toBe("second");
    expect(await fetchText(ports[2])).toBe("third");
  });

  test("each pod has its own network; a pod that is removed takes it along", async () => {
    const port = await freePort();
    const platform = await start("mesh", port);
    expect(namespaces("mesh")).toHaveLength(3); // the mesh's and two pods'
    const [deployment, service] = objects(port, "mesh");
    const one = { ...deployment!, spec: { ...(deployment!.spec as object), replicas: 1 } };
    await platform.update([one, service!]);
    await expect.poll(() => namespaces("mesh").length).toBe(2);
    expect(await fetchText(port)).toBe("mesh");
    // Its address is given anew at once.
    for (let i = 0; i < 5; i++) {
      await platform.update([one, service!]);
      await platform.update([deployment!, service!]);
      await platform.whenReady(20_000);
    }
    expect(new Set(platform.status().pods.map((pod) => pod.podIp)).size).toBe(2);
  });

  test("kill -9 of the supervisor: its mesh is gone without anyone's help", async () => {
    const child = await startElsewhere("mesh", await freePort());
    expect(meshProcesses(join(dir, "mesh")).length).toBeGreaterThanOrEqual(5);
    child.kill("SIGKILL");
    await expect.poll(() => meshProcesses(join(dir, "mesh")), { timeout: 10_000 }).toEqual([]);
  });

  test("kill -9 of the supervisor and of what holds the network: the next start ends what was left", async () => {
    const port = await freePort();
    const child = await startElsewhere("mesh", port);
    const old = meshProcesses(join(dir, "mesh"));
    const holder = holderOf(old);
    process.kill(holder!, "SIGKILL");
    child.kill("SIGKILL");
    await once(child, "exit");
    await start("mesh", port);
    const now = meshProcesses(join(dir, "mesh"));
    expect(now.filter((pid) => old.includes(pid))).toEqual([]);
    expect(namespaces("mesh")).toHaveLength(3);
    expect(await fetchText(port)).toBe("mesh");
  });

  test("weft down ends it from elsewhere", async () => {
    await startElsewhere("mesh", await freePort());
    expect(await stopRunning(join(dir, "mesh"))).toBe(true);
    expect(meshProcesses(join(dir, "mesh"))).toEqual([]);
    expect(readdirSync(join(dir, "mesh")).filter((name) => name.endsWith(".sock"))).toEqual([]);
    expect(await stopRunning(join(dir, "mesh"))).toBe(false);
  });

  test("the holder that is killed is noticed, and said", async () => {
    const platform = await start("mesh", await freePort());
    const holder = holderOf(meshProcesses(join(dir, "mesh")));
    process.kill(holder!, "SIGKILL");
    expect(await platform.lost).toBe("the process that holds the mesh's network ended (SIGKILL)");
  });

  test("without root: weft up as a user that may nothing, and kill -9 of it", async () => {
    const port = await freePort();
    cpSync(join(ROOT, "test/mesh/transparent/app.ts"), join(dir, "mesh/app.ts"));
    const yaml = readFileSync(join(ROOT, "test/mesh/transparent/mesh.yaml"), "utf8");
    writeFileSync(
      join(dir, "mesh/mesh.yaml"),
      yaml.replace("port: 8080\n      targetPort", `port: ${port}\n      targetPort`),
    );
    const asRoot = process.getuid?.() === 0;
    if (asRoot) chownSync(dir, NOBODY, NOBODY);
    const weft = ["cli/main.ts", "up", join(dir, "mesh"), "--mode", "transparent", "-o", "json"];
    // The clone may lie where only root looks: it is shown at a place of everybody's.
    const shown = 'mkdir -p "$1" && mount --bind "$0" "$1" && cd "$1" && shift && exec "$@"';
    const user = ["setpriv", `--reuid=${NOBODY}`, `--regid=${NOBODY}`, "--clear-groups", "--no-new-privs"];
    const node = ["node_modules/node/bin/node", ...weft];
    const command = asRoot
      ? ["unshare", "-m", "sh", "-c", shown, ROOT, join(dir, "clone"), ...user, ...node]
      : node;
    const child = spawn(command[0]!, command.slice(1), {
      cwd: ROOT,
      env: { PATH: process.env["PATH"], HOME: dir, XDG_STATE_HOME: dir },
      stdio: ["ignore", "pipe", "pipe"],
    });
    children.push(child);
    let out = "";
    let err = "";
    child.stderr.on("data", (piece) => (err += piece));
    child.stdout.on("data", (piece) => (out += piece));
    await expect.poll(() => out.endsWith("\n}\n") || child.exitCode !== null, { timeout: 60_000 }).toBe(true);
    expect(err).not.toMatch(/error/);
    expect(JSON.parse(out)).toMatchObject({ mode: "transparent", ready: true });
    expect(JSON.parse(await fetchText(port))).toMatchObject({ pod: "alpha-0", from: "127.0.0.6" });
    const started = meshProcesses(join(dir, "weft/default"));
    expect(started.length).toBeGreaterThan(10);
    child.kill("SIGKILL");
    await expect.poll(() => meshProcesses(join(dir, "weft/default")), { timeout: 10_000 }).toEqual([]);
  }, 120_000);

  test("where the kernel gives no namespaces: auto says why it is explicit, --mode transparent what to set", async () => {
    // The limit is the user namespace's own, so that this touches nobody else.
    const limited = 'echo 0 >/proc/sys/user/max_net_namespaces && exec "$@"';
    const up = (...args: string[]): ChildProcess => {
      const node = [process.execPath, "cli/main.ts", "up", join(dir, "mesh"), "-o", "json", ...args];
      const child = spawn("unshare", ["--map-root-user", "sh", "-c", limited, "sh", ...node], {
        cwd: ROOT,
        env: { ...process.env, XDG_STATE_HOME: dir },
      });
      children.push(child);
      return child;
    };
    mkdirSync(join(dir, "mesh"));
    writeFileSync(join(dir, "mesh/a.yaml"), "{apiVersion: v1, kind: ServiceAccount, metadata: {name: a}}");
    const refused = up("--mode", "transparent");
    let err = "";
    refused.stderr?.on("data", (piece) => (err += piece));
    expect(await once(refused, "close")).toEqual([1, null]);
    expect(err).toMatch(
      /^error: transparent mode is not possible: the kernel forbids namespaces to users \(user\.max_net_namespaces = 0: unshare.*\); run: sudo sysctl -w user\.max_net_namespaces=15000; or use --mode explicit .*\n$/m,
    );
    const auto = up("--data-plane", "none");
    const [json] = (await once(auto.stdout!, "data")) as [Buffer];
    expect(JSON.parse(json.toString())).toMatchObject({
      mode: "explicit",
      reason: expect.stringMatching(/^no transparent mode: the kernel forbids namespaces/),
    });
    auto.kill("SIGTERM");
    await once(auto, "exit");
  });
});
