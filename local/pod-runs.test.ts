/** Pods with everything that people write into them, as real processes; in explicit mode, without proxies. */

import { spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Cgroup, makeCgroup } from "./cgroup.ts";
import type { PodStatus } from "./contract.ts";
import { type Platform, type PlatformObject, startPlatform } from "./index.ts";

let dir: string;
let platform: Platform | undefined;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "weft-runs-"));
});
afterEach(async () => {
  await platform?.stop();
  platform = undefined;
  rmSync(dir, { recursive: true, force: true });
});

function pod(spec: object, name = "p"): PlatformObject {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, labels: { app: "demo" } },
    spec: { terminationGracePeriodSeconds: 2, ...spec },
    source: { file: join(dir, "pods.yaml"), line: 1 },
  };
}
const data = (kind: string, name: string, fields: object): PlatformObject => ({
  apiVersion: "v1",
  kind,
  metadata: { name },
  ...fields,
});
/** A container that runs a shell script in the folder of the file. */
const sh = (name: string, script: string, more: object = {}): object => ({
  name,
  command: ["sh", "-c", script],
  ...more,
});
const FOREVER = "while :; do sleep 0.1; done";

async function start(...objects: PlatformObject[]): Promise<Platform> {
  platform = await startPlatform({
    objects,
    stateDir: join(dir, "s"),
    mode: "explicit",
    dataPlane: "none",
    drainMs: 0,
  });
  return platform;
}
function statusOf(name = "p"): PodStatus | undefined {
  return platform?.status().pods.find((p) => p.name === name);
}
const container = (name: string) => statusOf()?.containers.find((c) => c.name === name);
function read(name: string): string {
  try {
    return readFileSync(join(dir, name), "utf8");
  } catch {
    return "";
  }
}
const log = (name: string): string => read(`s/pods/p/logs/${name}.log`);
const poll = <T>(look: () => T) => expect.poll(look, { timeout: 20_000, interval: 20 });

/** An app without a readiness probe is ready before it has written its first word. */
const WRITTEN = { timeout: 10_000 };

test("init containers run in order, are tried again, and sidecars among them run on and end last", async () => {
  await start(
    pod({
      initContainers: [
        sh("first", "echo first >>order; [ -e tried ] || { touch tried; exit 3; }"),
        sh("beside", `echo beside >>order; trap 'echo beside ended >>order; exit 0' TERM; ${FOREVER}`, {
          restartPolicy: "Always",
        }),
        sh("last", "echo last >>order"),
      ],
      containers: [sh("main", `echo main >>order; trap 'echo main ended >>order; exit 0' TERM; ${FOREVER}`)],
    }),
  );
  await platform!.whenReady(20_000);
  await expect.poll(() => read("order"), WRITTEN).toBe("first\nfirst\nbeside\nlast\nmain\n");
  expect(container("first")).toMatchObject({ role: "init", state: "ended", restarts: 1, exitCode: 0 });
  expect(container("beside")).toMatchObject({ role: "sidecar", state: "running", ready: true });
  expect(statusOf()).toMatchObject({ phase: "Running", reason: "Running", message: "" });
  await platform!.stop();
  expect(read("order").split("\n").slice(5)).toEqual(["main ended", "beside ended", ""]);
});

test("a pod whose containers all end is Succeeded with its sidecars gone, or Failed, as its restartPolicy says", async () => {
  await start(
    pod({
      restartPolicy: "Never",
      initContainers: [sh("beside", `echo $$ >beside.pid; ${FOREVER}`, { restartPolicy: "Always" })],
      containers: [sh("main", "exit 0"), sh("other", "exit 0")],
    }),
    pod({ restartPolicy: "Never", containers: [sh("main", "exit 7")] }, "bad"),
    pod(
      {
        restartPolicy: "Never",
        initContainers: [sh("i", "exit 1")],
        containers: [sh("main", "touch never")],
      },
      "init",
    ),
    pod(
      { restartPolicy: "OnFailure", containers: [sh("main", "[ -e once ] || { touch once; exit 1; }")] },
      "again",
    ),
    pod({ activeDeadlineSeconds: 1, containers: [sh("main", FOREVER)] }, "late"),
  );
  const phases = () =>
    ["p", "bad", "init", "again", "late"].map((name) => [statusOf(name)?.phase, statusOf(name)?.reason]);
  await poll(phases).toEqual([
    ["Succeeded", "Completed"],
    ["Failed", "Error"],
    ["Failed", "Error"],
    ["Succeeded", "Completed"],
    ["Failed", "DeadlineExceeded"],
  ]);
  expect(statusOf("bad")?.message).toBe("main: ended: exit code 7");
  expect(statusOf("init")?.message).toBe("init container i failed: exit code 1");
  expect(read("never")).toBe("");
  await poll(() => container("beside")?.state).toBe("stopped");
  expect(existsSync(`/proc/${read("beside.pid").trim()}`)).toBe(false);
});

test("what a pod waits for is said, and it begins when it is there", async () => {
  const main = sh("main", `echo "$MODE" >mode; ${FOREVER}`, {
    env: [{ name: "MODE", valueFrom: { configMapKeyRef: { name: "app", key: "mode" } } }],
  });
  const mounted = pod(
    { containers: [sh("main", FOREVER)], volumes: [{ name: "v", secret: { secretName: "s" } }] },
    "q",
  );
  const p = pod({ containers: [main] });
  await start(p, mounted);
  await poll(() => statusOf()?.message).toBe("main: ConfigMap default/app does not exist");
  expect(statusOf()).toMatchObject({ ready: false, reason: "CreateContainerConfigError" });
  await poll(() => statusOf("q")?.message).toBe("Secret default/s does not exist");
  await platform!.update([
    p,
    mounted,
    data("ConfigMap", "app", { data: { mode: "fast" } }),
    data("Secret", "s", {}),
  ]);
  await platform!.whenReady(20_000);
  await expect.poll(() => read("mode"), WRITTEN).toBe("fast\n");
});

const ROOT = process.getuid?.() === 0;
test.runIf(ROOT)(
  "volumes are at their mountPath, also where the machine has no such path, and live ones follow",
  async () => {
    mkdirSync(join(dir, "shared"));
    writeFileSync(join(dir, "shared", "seed"), "from the host");
    const config = (text: string) => data("ConfigMap", "app", { data: { "a.conf": text, "b.conf": "b" } });
    const secret = data("Secret", "db", { data: { pw: Buffer.from("hunter2").toString("base64") } });
    const p = pod({
      containers: [
        sh(
          "main",
          `cat /no-such/place/a.conf /etc/weft-test/one /run/secret/pw /hostpath/seed /pod/labels /pod/name >seen; echo out >/hostpath/new; echo data >/claim/file; echo tmp >/scratch/file; touch /no-such/place/x 2>/dev/null || echo read-only >>seen; ${FOREVER}`,
          {
            volumeMounts: [
              { name: "config", mountPath: "/no-such/place", readOnly: true },
              { name: "config", mountPath: "/etc/weft-test/one", subPath: "b.conf" },
              { name: "secret", mountPath: "/run/secret" },
              { name: "host", mountPath: "/hostpath" },
              { name: "claim", mountPath: "/claim" },
              { name: "scratch", mountPath: "/scratch" },
              { name: "pod", mountPath: "/pod" },
            ],
            readinessProbe: {
              exec: { command: ["sh", "-c", "test -e /scratch/file && test -e /no-such/place/a.conf"] },
              periodSeconds: 1,
            },
          },
        ),
        sh("other", `until [ -e /seen/file ]; do sleep 0.05; done; cat /seen/file >other; ${FOREVER}`, {
          volumeMounts: [{ name: "scratch", mountPath: "/seen" }],
        }),
      ],
      volumes: [
        { name: "config", configMap: { name: "app" } },
        { name: "secret", secret: { secretName: "db", defaultMode: 0o400 } },
        { name: "host", hostPath: { path: "./shared", type: "Directory" } },
        { name: "claim", persistentVolumeClaim: { claimName: "db" } },
        { name: "scratch", emptyDir: {} },
        {
          name: "pod",
          projected: {
            sources: [
              {
                downwardAPI: {
                  items: [
                    { path: "labels", fieldRef: { fieldPath: "metadata.labels" } },
                    { path: "name", fieldRef: { fieldPath: "metadata.name" } },
                  ],
                },
              },
            ],
          },
        },
      ],
    });
    await start(p, config("one\n"), secret);
    await platform!.whenReady(20_000);
    await poll(() => read("seen")).toBe('one\nbhunter2from the hostapp="demo"pread-only\n');
    await poll(() => read("other")).toBe("tmp\n");
    expect(read("shared/new")).toBe("out\n");
    expect(existsSync("/no-such")).toBe(false);
    expect(existsSync("/etc/weft-test")).toBe(false);
    const volumes = join(dir, "s", "pods", "p", "volumes");
    expect(statSync(join(volumes, "secret", "pw")).mode & 0o777).toBe(0o400);
    expect(statSync(volumes).mode & 0o77).toBe(0);
    // A live volume follows without a restart.
    const pid = container("main")?.pid;
    await platform!.update([p, config("two\n"), secret]);
    await poll(() => readFileSync(join(volumes, "config", "a.conf"), "utf8")).toBe("two\n");
    const inside = () => readFileSync(`/proc/${pid}/root/no-such/place/a.conf`, "utf8");
    await poll(inside).toBe("two\n");
    expect(container("main")?.pid).toBe(pid);
    await platform!.update([config("two\n"), secret]);
    await poll(() => existsSync(join(dir, "s", "pods", "p", "volumes"))).toBe(false);
    expect(read("s/volumes/default/db/file")).toBe("data\n");
  },
);

test("where no mount namespace can be had, a pod runs and is told where its volumes are", async () => {
  const path = process.env["PATH"];
  const bin = join(dir, "bin");
  mkdirSync(bin);
  for (const tool of ["sh", "cat", "sleep"])
    symlinkSync(
      spawnSync("sh", ["-c", `command -v ${tool}`], { encoding: "utf8" }).stdout.trim(),
      join(bin, tool),
    );
  process.env["PATH"] = bin;
  try {
    await start(
      pod({
        containers: [
          sh("main", `cat $WEFT_VOLUME_APP_CONFIG/mode $(WEFT_VOLUME_APP_CONFIG)/mode >seen; ${FOREVER}`, {
            volumeMounts: [{ name: "app-config", mountPath: "/etc/no-such" }],
          }),
        ],
        volumes: [{ name: "app-config", configMap: { name: "app" } }],
      }),
      data("ConfigMap", "app", { data: { mode: "fast" } }),
    );
    await platform!.whenReady(20_000);
    await poll(() => read("seen")).toBe("fastfast");
    expect(statusOf()?.notes).toEqual([
      'main: this machine gives no mount namespace, so volume "app-config" is not at /etc/no-such but at $WEFT_VOLUME_APP_CONFIG',
    ]);
  } finally {
    process.env["PATH"] = path;
  }
});

test("hooks run: postStart before readiness, preStop before the signal that was asked for", async () => {
  await start(
    pod({
      containers: [
        sh("main", `trap 'echo interrupted >>order; exit 0' INT; echo begun >>order; ${FOREVER}`, {
          lifecycle: {
            postStart: { exec: { command: ["sh", "-c", "sleep 0.3; echo posted >>order"] } },
            preStop: { exec: { command: ["sh", "-c", "echo stopping >>order"] } },
            stopSignal: "SIGINT",
          },
        }),
      ],
    }),
  );
  await platform!.whenReady(20_000);
  await expect.poll(() => read("order"), WRITTEN).toBe("begun\nposted\n");
  await platform!.stop();
  expect(read("order")).toBe("begun\nposted\nstopping\ninterrupted\n");
});

test("a container that does not end gets SIGKILL after its grace time; a failed postStart hook restarts it", async () => {
  await start(
    pod({
      terminationGracePeriodSeconds: 1,
      containers: [
        sh("main", `trap '' TERM; ${FOREVER}`, {
          // Counts its own runs: nobody says whether the container's first words or the hook's come first.
          lifecycle: {
            postStart: { exec: { command: ["sh", "-c", "echo x >>hooks; [ $(wc -l <hooks) -gt 1 ]"] } },
          },
        }),
      ],
    }),
  );
  await platform!.whenReady(20_000);
  await expect.poll(() => read("hooks"), WRITTEN).toBe("x\nx\n");
  expect(container("main")).toMatchObject({ restarts: 1, exitCode: 137 });
  expect(container("main")?.lastExit).toMatch(/^postStart hook: sh -c .*: exit code 1/);
});

test("a liveness probe that fails ends the container with the probe's own grace time and says why", async () => {
  await start(
    pod({
      terminationGracePeriodSeconds: 60,
      containers: [
        sh("main", `trap '' TERM; ${FOREVER}`, {
          livenessProbe: {
            exec: { command: ["sh", "-c", "echo no heart; exit 2"] },
            periodSeconds: 1,
            failureThreshold: 1,
            terminationGracePeriodSeconds: 1,
          },
        }),
      ],
    }),
  );
  await poll(() => container("main")?.lastExit).toBe(
    "liveness probe: sh -c echo no heart; exit 2: exit code 2: no heart",
  );
});

test("a startup probe has the time that its period and threshold give, and holds the others back", async () => {
  await start(
    pod({
      containers: [
        sh("main", `date +%s%N >began; sleep 2; touch up; ${FOREVER}`, {
          startupProbe: { exec: { command: ["test", "-e", "up"] }, periodSeconds: 1, failureThreshold: 10 },
          livenessProbe: { exec: { command: ["test", "-e", "up"] }, periodSeconds: 1, failureThreshold: 1 },
        }),
      ],
    }),
  );
  await poll(() => statusOf()?.message).toContain("startup probe: test -e up: exit code 1");
  await platform!.whenReady(20_000);
  expect(container("main")?.restarts).toBe(0);
});

test("why a pod is not ready is in its status and in the error of who waits for it", async () => {
  await start(
    pod({
      containers: [
        sh("main", FOREVER, { readinessProbe: { tcpSocket: { port: 1 }, periodSeconds: 1 } }),
        sh("crash", "exit 9"),
      ],
    }),
  );
  await poll(() => statusOf()?.message).toMatch(
    /main: readiness probe: connect to port 1: connect ECONNREFUSED .*; crash: restarts after exit code 9/,
  );
  await poll(() => statusOf()?.reason).toBe("CrashLoopBackOff");
  await expect(platform!.whenReady(10)).rejects.toThrow(
    /p: main: readiness probe: .*crash: restarts after exit code 9.*logs in/,
  );
});

test("why a container ended is said of its last end, not of the one before", async () => {
  const script = "if [ -e again ]; then sleep 1; exit 3; fi; touch again; echo not to be begun >&2; exit 126";
  await start(pod({ containers: [sh("main", script)] }));
  const seen = new Set<string | undefined>();
  await poll(() => {
    seen.add(container("main")?.lastExit);
    return container("main")?.exitCode;
  }).toBe(3);
  expect([...seen]).toEqual(expect.arrayContaining(["exit code 126: not to be begun", "exit code 3"]));
});

test("a program that is not there, or a folder, is said", async () => {
  await start(pod({ containers: [{ name: "main", command: ["no-such-program"] }] }));
  await poll(() => container("main")?.lastExit).toContain(
    "could not start no-such-program: no such program on PATH",
  );
});

test("a log is kept at its size, with one older file, and nobody else may read it", async () => {
  const line = "x".repeat(1023);
  await start(
    pod({
      containers: [
        sh("main", `i=0; while [ $i -lt 26000 ]; do echo ${line}; i=$((i+1)); done; echo end; ${FOREVER}`),
      ],
    }),
  );
  await poll(() => log("main").trimEnd().endsWith("end")).toBe(true);
  const logs = join(dir, "s", "pods", "p", "logs");
  await poll(() => readdirSync(logs).sort()).toEqual(["main.log", "main.log.1"]);
  for (const file of readdirSync(logs)) {
    const { size, mode } = statSync(join(logs, file));
    expect(size).toBeLessThan(30 * 2 ** 20);
    expect(mode & 0o77).toBe(0);
  }
});

test.runIf(ROOT)("limits.memory holds, and what goes past it is told by name", async () => {
  const hog = "node -e 'const all = []; setInterval(() => all.push(Buffer.alloc(8e6, 1)), 1)'";
  await start(
    pod({
      containers: [sh("main", `exec ${hog}`, { resources: { limits: { memory: "100Mi", cpu: "500m" } } })],
    }),
  );
  const says = () => `${container("main")?.lastExit}${statusOf()?.notes.join()}`;
  await poll(says).toMatch(
    /OOMKilled: it took more than limits.memory, 104857600 bytes|are not carried out: /,
  );
  // Where root may not make groups either, the note is all that can be had.
  const group = makeCgroup("weft-test", { memory: 1e8 });
  if (group instanceof Cgroup) {
    group.remove();
    expect(says()).toMatch(/^OOMKilled/);
  }
});

test("no status, log or state of a mesh shows a Secret's value to others, and pods get it", async () => {
  const secret = data("Secret", "db", { stringData: { pw: "hunter2" } });
  await start(
    pod({
      containers: [
        sh("main", `printf %s "$PW" >pw; ${FOREVER}`, {
          env: [{ name: "PW", valueFrom: { secretKeyRef: { name: "db", key: "pw" } } }],
        }),
      ],
    }),
    secret,
  );
  await platform!.whenReady(20_000);
  await expect.poll(() => read("pw"), WRITTEN).toBe("hunter2");
  expect(JSON.stringify(platform!.status())).not.toContain("hunter2");
  expect(read("s/platform.json")).not.toContain("hunter2");
});
