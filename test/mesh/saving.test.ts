/**
 * Files are saved in many ways, and the mesh bears all of them: under load, no request passes that must be denied, none
 * fails or goes elsewhere, and no process of a pod that stays in the files ends. SAVES=50 for the long run.
 */
import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  closeSync,
  copyFileSync,
  cpSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { beforeAll, expect, test, vi } from "vitest";
import { call } from "#test/harness/call.ts";
import { onEachDataPlane } from "#test/harness/each-data-plane.ts";
import { startLoad } from "#test/harness/load.ts";

const from = join(import.meta.dirname, "echo");
const replace = { ECHO_MAIN: join(import.meta.dirname, "../harness/echo-main.ts") };
const SAVES = Number(process.env["SAVES"] ?? 6);
const FILES = ["mesh.yaml", "deny.yaml", "route.yaml"] as const;
const SOON = { timeout: 20_000, interval: 20 };

const DENY = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: deny
spec:
  action: DENY
  selector:
    matchLabels:
      app: echo
  rules:
    - to:
        - operation:
            paths:
              - /edited-0
              - /denied
    - to:
        - operation:
            paths:
              - /secret/*
`;
const ROUTE = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: echo
spec:
  hosts:
    - echo
  http:
    - match:
        - uri:
            prefix: /v1
      headers:
        response:
          set:
            x-edited: edited-0
      route:
        - destination:
            host: echo
            subset: v1
    - route:
        - destination:
            host: echo
            subset: v2
`;

/** How long what is written by halves stays so: a save, a slow disk, a person. */
const GAPS_MS = [5, 60, 150, 1000];
interface Save {
  readonly dir: string;
  /** What the file is to say now. */
  readonly text: (file: string) => string;
  /** The next of the gaps. */
  readonly pause: () => Promise<void>;
}
const each = (dir: string, what: (path: string, file: string) => void): void => {
  for (const file of FILES) what(join(dir, file), file);
};
const git = (dir: string, ...args: string[]): void => {
  const who = ["-c", "user.name=a", "-c", "user.email=a@b"];
  execFileSync("git", [...who, ...args], { cwd: dir, stdio: "ignore" });
};

const WAYS: Readonly<Record<string, (save: Save) => Promise<void>>> = {
  "rm, then create": async ({ dir, text, pause }) => {
    each(dir, (path) => rmSync(path));
    await pause();
    each(dir, (path, file) => writeFileSync(path, text(file)));
  },
  "mv away, then create (vim with a backup)": async ({ dir, text, pause }) => {
    each(dir, (path) => renameSync(path, `${path}~`));
    await pause();
    each(dir, (path) => writeFileSync(path, ""));
    each(dir, (path, file) => writeFileSync(path, text(file)));
    each(dir, (path) => rmSync(`${path}~`));
  },
  "truncate, write later": async ({ dir, text, pause }) => {
    each(dir, (path) => truncateSync(path));
    await pause();
    each(dir, (path, file) => writeFileSync(path, text(file)));
  },
  "in place (VS Code, nano)": async ({ dir, text, pause }) => {
    each(dir, (path, file) => writeFileSync(path, text(file)));
    await pause();
  },
  "another file renamed into place (sed -i, emacs)": async ({ dir, text, pause }) => {
    each(dir, (_, file) => writeFileSync(join(dir, `.${file}.tmp`), text(file)));
    each(dir, (path, file) => renameSync(join(dir, `.${file}.tmp`), path));
    await pause();
  },
  "a writer that is slow": async ({ dir, text, pause }) => {
    const open = FILES.map((file) => ({ fd: openSync(join(dir, file), "w"), text: text(file) }));
    for (let part = 0; part < 4; part++) {
      for (const { fd, text } of open) {
        const size = Math.ceil(text.length / 4);
        writeSync(fd, text.slice(part * size, (part + 1) * size));
      }
      await pause();
    }
    for (const { fd } of open) closeSync(fd);
  },
  "half of it that parses, the rest later": async ({ dir, text, pause }) => {
    each(dir, (path, file) => writeFileSync(path, half(text(file))));
    await pause();
    each(dir, (path, file) => appendFileSync(path, text(file).slice(half(text(file)).length)));
  },
  "git checkout of another version": async ({ dir, text, pause }) => {
    each(dir, (path, file) => writeFileSync(path, text(file)));
    if (!readFileSync(join(dir, ".gitignore"), "utf8").includes("done")) {
      writeFileSync(join(dir, ".gitignore"), "done\n.*\n");
      git(dir, "init");
    }
    git(dir, "add", "-A");
    git(dir, "commit", "--allow-empty", "-m", "next");
    git(dir, "rm", "-r", "--cached", ".");
    each(dir, (path) => rmSync(path));
    await pause();
    git(dir, "reset", "--hard");
  },
  "git stash and pop": async ({ dir, text, pause }) => {
    each(dir, (path, file) => writeFileSync(path, `${text(file)}# not committed\n`));
    git(dir, "stash", "-u");
    await pause();
    git(dir, "stash", "pop");
  },
  "links that are swapped, as a ConfigMap's": async ({ dir, text, pause }) => {
    const version = join(dir, `..${process.hrtime.bigint()}`);
    mkdirSync(version);
    each(version, (path, file) => writeFileSync(path, text(file)));
    symlinkSync(version, join(dir, "..next"));
    renameSync(join(dir, "..next"), join(dir, "..data"));
    each(dir, (path, file) => {
      rmSync(path);
      symlinkSync(join("..data", file), path);
    });
    await pause();
    each(dir, (path) => rmSync(path));
    each(dir, (path, file) => copyFileSync(join(version, file), path));
    rmSync(version, { recursive: true });
  },
  "the whole folder moved away and back": async ({ dir, text, pause }) => {
    renameSync(dir, `${dir}.away`);
    await pause();
    each(`${dir}.away`, (path, file) => writeFileSync(path, text(file)));
    renameSync(`${dir}.away`, dir);
  },
  "the whole folder removed and copied": async ({ dir, text, pause }) => {
    cpSync(dir, `${dir}.copy`, { recursive: true });
    rmSync(dir, { recursive: true });
    await pause();
    mkdirSync(dir);
    await pause();
    cpSync(`${dir}.copy`, dir, { recursive: true });
    each(dir, (path, file) => writeFileSync(path, text(file)));
    rmSync(`${dir}.copy`, { recursive: true });
  },
  "taken into other files and back": async ({ dir, text, pause }) => {
    each(dir, (path) => renameSync(path, path.replace(".yaml", "-2.yaml")));
    await pause();
    each(dir, (path) => rmSync(path.replace(".yaml", "-2.yaml")));
    each(dir, (path, file) => writeFileSync(path, text(file)));
  },
};

/** Ends where YAML may end: between two documents, else within the last list. */
function half(text: string): string {
  const at = text.includes("\n---") ? text.lastIndexOf("\n---") : text.lastIndexOf("\n    - ");
  return text.slice(0, at + 1);
}

onEachDataPlane("saving", { from, replace }, (mesh) => {
  let host = "";
  let platform = "";
  let edits = 0;
  const text = (file: string): string =>
    file === "deny.yaml"
      ? DENY.replace("edited-0", `edited-${edits}`)
      : file === "route.yaml"
        ? ROUTE.replace("edited-0", `edited-${edits}`)
        : `# edit ${edits}\n${platform}`;
  const ask = (path: string) => call({ host, port: 8080, path, headers: { host: "echo:8080" } });
  const pids = (): Record<string, number | undefined> =>
    Object.fromEntries(
      ["client-0", "echo-v1-0", "echo-v2-0", "istio-ingressgateway-0"].flatMap((pod) =>
        (["app", "proxy"] as const).map((part) => [`${pod} ${part}`, mesh().pid({ pod, part })]),
      ),
    );
  /** What was written last is in force. */
  const inForce = async (): Promise<void> => {
    await vi.waitUntil(async () => (await ask(`/edited-${edits}`)).status === 403, SOON);
    await vi.waitUntil(async () => (await ask("/v1")).headers["x-edited"] === `edited-${edits}`, SOON);
  };
  beforeAll(async () => {
    host = await mesh().addressOf("echo", "client");
    platform = readFileSync(join(mesh().dir, "mesh.yaml"), "utf8");
    writeFileSync(join(mesh().dir, ".gitignore"), "");
    each(mesh().dir, (path, file) => writeFileSync(path, text(file)));
    await inForce();
  });

  test.each(Object.keys(WAYS))("%s", { timeout: 60_000 + SAVES * 10_000 }, async (way) => {
    const before = pids();
    const judged = (path: string, right: (status: number, body: string) => boolean) =>
      startLoad({
        url: `http://${host}:8080${path}`,
        headers: { host: "echo:8080" },
        connections: 1,
        judge: (status, body) => (right(status, body) ? null : `${path}: ${status} ${body.slice(0, 60)}`),
      });
    const loads = [
      judged("/denied", (status) => status === 403),
      judged("/secret/1", (status) => status === 403),
      judged("/v1", (status, body) => status === 200 && body.includes('"service":"echo-v1-0"')),
      judged("/", (status, body) => status === 200 && body.includes('"service":"echo-v2-0"')),
    ];
    for (let n = 0; n < SAVES; n++) {
      edits++;
      const gap = GAPS_MS[n % GAPS_MS.length]!;
      await WAYS[way]!({ dir: mesh().dir, text, pause: () => delay(gap) });
      await inForce();
    }
    const sent = loads.reduce((sum, load) => sum + load.sent(), 0);
    const failures = (await Promise.all(loads.map((load) => load.stop()))).flat();
    console.info(`${mesh().dataPlane}: ${way}: ${SAVES} saves, ${sent} requests, ${failures.length} wrong`);
    expect(failures).toEqual([]);
    expect(pids()).toEqual(before);
    expect((await mesh().cli("status")).out).not.toMatch(/awaited|error:/);
  });

  test("a control plane that is killed in the midst of a save opens nothing when it is back", async () => {
    const denied = startLoad({
      url: `http://${host}:8080/denied`,
      headers: { host: "echo:8080" },
      judge: (status) => (status === 403 ? null : `${status}`),
    });
    const before = pids();
    for (const cut of [(path: string) => rmSync(path), (path: string) => truncateSync(path)]) {
      each(mesh().dir, cut);
      const killed = mesh().kill("control-plane");
      await vi.waitUntil(() => ![undefined, killed].includes(mesh().pid("control-plane")), SOON);
      // Not until all proxies are back, for which an Envoy takes its time: the files would be gone for too long.
      await vi.waitUntil(async () => (await mesh().admin("control-plane", "/healthz")) !== null, SOON);
      edits++;
      each(mesh().dir, (path, file) => writeFileSync(path, text(file)));
      await mesh().settled();
      await inForce();
    }
    expect(await denied.stop()).toEqual([]);
    expect(pids()).toEqual(before);
  }, 120_000);

  test("what is taken away goes in the end, and status tells what is awaited", async () => {
    rmSync(join(mesh().dir, "deny.yaml"));
    await vi.waitUntil(async () => (await mesh().cli("status")).out.includes("awaited"), SOON);
    expect((await mesh().cli("status")).out).toMatch(
      /awaited: .*deny\.yaml:1: AuthorizationPolicy default\/deny: its file has gone; it holds until/,
    );
    expect((await ask("/denied")).status).toBe(403);
    await vi.waitUntil(async () => (await ask("/denied")).status === 200, { timeout: 40_000, interval: 50 });
    expect((await mesh().cli("status")).out).not.toContain("awaited");
  });
});
