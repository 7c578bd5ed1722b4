import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { copyOf, writeCopies } from "#control-plane/sources/applied.ts";
import { load, writeCopy } from "#policies/index.ts";
import { weft } from "./run.ts";

let home: string;
let server: Server | null = null;

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "wf-"));
});
afterEach(async () => {
  if (server !== null) await new Promise((done) => server?.close(done));
  server = null;
  rmSync(home, { recursive: true, force: true });
});

async function run(line: string, stdin = ""): Promise<{ code: number; out: string; err: string }> {
  let out = "";
  let err = "";
  const code = await weft(line.split(" ").filter(Boolean), {
    stdout: process.stdout,
    env: { XDG_STATE_HOME: home },
    cwd: home,
    writeOut: (text) => {
      out += text;
    },
    writeErr: (text) => {
      err += text;
    },
    readStdin: async () => stdin,
  });
  return { code, out, err };
}

async function controlPlane(
  answer: (method: string, url: string, body: string) => [number, unknown],
): Promise<void> {
  mkdirSync(join(home, "weft/default"), { recursive: true });
  server = createServer((request, response) => {
    let body = "";
    request.on("data", (chunk) => (body += chunk));
    request.on("end", () => {
      const [status, value] = answer(request.method ?? "", request.url ?? "", body);
      response.writeHead(status).end(JSON.stringify(value));
    });
  });
  await new Promise<void>((done) => server?.listen(join(home, "weft/default/admin.sock"), done));
}

test("without a mesh, one line says how to start one", async () => {
  const { code, out, err } = await run("status");
  expect(code).toBe(1);
  expect(out).toBe("");
  expect(err).toMatch(/^error: no mesh runs here .*weft up PATH\n$/);
});

test("wrong usage is exit code 2, help is 0 and teaches by examples", async () => {
  expect((await run("status --nonsense")).code).toBe(2);
  expect((await run("apply")).code).toBe(2);
  expect(await run("--version")).toMatchObject({ code: 0, out: "0.1.0\n" });
  const help = await run("get --help");
  expect(help.code).toBe(0);
  expect(help.out).toContain("$ weft get VirtualService reviews -o yaml");
});

test("status shows acknowledged, stale and refused, and what is wrong with policies; it fails on a refusal", async () => {
  const url = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
  await controlPlane((_method, path) => [
    200,
    {
      errors: path === "/world" ? ["a.yaml:3: VirtualService default/a: spec.http: no"] : [],
      warnings: [],
      awaited: [],
      objects: [],
      proxies: [
        {
          nodeId: "sidecar~10.244.0.5~reviews-v1-0.default~default.svc.cluster.local",
          connected: true,
          types: { [url]: { sent: "a", acked: "a", nack: null, upToDate: true } },
        },
        {
          nodeId: "router~10.244.0.2~gw.default~x",
          connected: true,
          types: { [url]: { sent: "b", acked: "a", nack: "bad" } },
        },
      ],
    },
  ]);
  const { code, out } = await run("status");
  expect(code).toBe(1);
  expect(out).toMatch(/reviews-v1-0\.default +\S+ +yes +\S+ +SYNCED +NOT SENT/);
  expect(out).toMatch(/gw\.default +\S+ +yes +\S+ +NACK/);
  expect(out).toContain("\nerror: a.yaml:3: VirtualService default/a: spec.http: no\n");
});

const namespace = (name: string): string => `apiVersion: v1\nkind: Namespace\nmetadata: {name: ${name}}\n`;

test("apply sends every file under its name, and a refusal names file and line as the person knows them", async () => {
  const bodies: unknown[] = [];
  await controlPlane((method, _url, body) => {
    if (method === "GET") return [200, { objects: [] }];
    bodies.push(JSON.parse(body));
    return body.includes("bad")
      ? [422, { errors: [`${join(home, "more2.yaml")}:1: Namespace bad: no`] }]
      : [200, { applied: ["Namespace a", "Namespace b"] }];
  });
  mkdirSync(join(home, "more"));
  writeFileSync(join(home, "a.yaml"), namespace("a"));
  writeFileSync(join(home, "more/b.yaml"), namespace("b"));
  writeFileSync(join(home, "more/package.json"), "{}");
  writeFileSync(join(home, "more2.yaml"), namespace("bad"));
  const done = await run("apply -f a.yaml -f more");
  expect(done).toMatchObject({ code: 0, out: "APPLIED\nNamespace a\nNamespace b\n" });
  expect(done.err).toMatch(/^warning: \S+package\.json:1: no Kubernetes object .*: left alone\n$/);
  expect(bodies[0]).toEqual({
    files: [
      { file: join(home, "a.yaml"), text: namespace("a") },
      { file: join(home, "more/b.yaml"), text: namespace("b") },
    ],
  });
  expect(await run("apply -f -", namespace("c"))).toMatchObject({ code: 0 });
  expect(await run("apply -f a.yaml -f more2.yaml")).toMatchObject({
    code: 1,
    err: `error: ${join(home, "more2.yaml")}:1: Namespace bad: no\n`,
  });
  writeFileSync(join(home, "typo.yaml"), namespace("a").replace("metadata", "metadat"));
  const typo = await run("apply -f typo.yaml");
  expect(typo).toMatchObject({ code: 1, err: expect.stringContaining("typo.yaml:") });
  expect(await run("apply -f nowhere.yaml")).toMatchObject({
    code: 1,
    err: "error: nowhere.yaml: no such file or folder\n",
  });
});

test("apply, validate and up refuse the same, all errors of all files at once, and say the same of the rest", async () => {
  await controlPlane(() => [200, { objects: [], applied: [] }]);
  mkdirSync(join(home, "app"));
  const deployment = (name: string, spec: string): string =>
    `apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: ${name}}\nspec:\n  selector: {matchLabels: {app: web}}\n` +
    `  template:\n    metadata: {labels: {app: web}}\n    spec:\n      containers:\n      - {name: app, ${spec}}\n`;
  writeFileSync(join(home, "app/web.yaml"), deployment("web", "image: nginx"));
  writeFileSync(join(home, "app/more.yaml"), deployment("more", "command: [./nowhere]"));
  writeFileSync(join(home, "app/typo.yaml"), deployment("typo", "comand: [node]"));
  writeFileSync(join(home, "app/package.json"), "{}");
  writeFileSync(join(home, "app/quota.yaml"), "apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: q}\n");
  for (const command of ["apply -f app", "validate app", "up app --mesh other"]) {
    const { code, out, err } = await run(command);
    expect(code).toBe(1);
    const said = `${out}${err}`;
    expect(said).toMatch(/web\.yaml:10.*Deployment default\/web.*no "command"/);
    expect(said).toMatch(/more\.yaml:10.*Deployment default\/more.*nowhere does not exist/);
    expect(said).toMatch(/typo\.yaml:10.*Deployment default\/typo.*unknown field "comand"/);
  }
  const kinds = (await run("validate app")).out;
  expect(kinds).toMatch(/quota\.yaml:2 .*kind ResourceQuota of v1 is not for the mesh: left alone/);
  expect(kinds).toMatch(/package\.json:1 .*left alone/);
});

test("delete takes a name, files or all, and one of them, in one request", async () => {
  const calls: string[] = [];
  await controlPlane((method, url, body) => {
    calls.push(`${method} ${url} ${body}`);
    return [
      200,
      { deleted: ["Namespace a"], errors: body.includes("gone") ? ["Namespace gone: no such object"] : [] },
    ];
  });
  writeFileSync(join(home, "a.yaml"), `${namespace("a")}---\n${namespace("gone")}`);
  expect((await run("delete")).code).toBe(2);
  expect((await run("delete Namespace a -f a.yaml")).code).toBe(2);
  expect(await run("delete -f a.yaml")).toMatchObject({
    code: 1,
    out: "DELETED\nNamespace a\n",
    err: "error: Namespace gone: no such object\n",
  });
  expect(await run("delete vs reviews")).toMatchObject({ code: 0 });
  expect(await run("delete vs one two -n shop")).toMatchObject({ code: 0 });
  expect(await run("delete --all")).toMatchObject({ code: 0 });
  const one = (kind: string, ns: string, name: string) => JSON.stringify({ kind, namespace: ns, name });
  expect(calls).toEqual([
    `POST /objects/delete {"objects":[${one("Namespace", "", "a")},${one("Namespace", "", "gone")}]}`,
    `POST /objects/delete {"objects":[${one("VirtualService", "default", "reviews")}]}`,
    `POST /objects/delete {"objects":[${one("VirtualService", "shop", "one")},${one("VirtualService", "shop", "two")}]}`,
    'POST /objects/delete {"all":true}',
  ]);
  const unknown = await run("delete foo reviews");
  expect(unknown).toMatchObject({ code: 2, err: expect.stringContaining("no such kind: foo; known are") });
});

test("what was applied is listed and taken back without a running mesh", async () => {
  const state = join(home, "weft/kept");
  const keep = (text: string): Promise<void> => {
    const { objects } = load(text, "/home/a.yaml");
    const copies = objects.map(
      (o) => [copyOf(o, state), writeCopy(o.raw, o.source.file, "2026-11-28", o.line)] as const,
    );
    return writeCopies(new Map(copies), state);
  };
  await keep(`${namespace("a")}---\n${namespace("b")}`);
  writeFileSync(join(state, "applied/old.json"), "what no version reads any more");
  expect((await run("get applied --mesh kept")).out).toMatch(
    /Namespace +<none> +b +\/home\/a\.yaml:5 +2026-11-28/,
  );
  expect(await run("delete Namespace a --mesh kept")).toMatchObject({
    code: 0,
    out: "DELETED\nNamespace a\n",
  });
  expect(await run("delete Namespace a --mesh kept")).toMatchObject({
    code: 1,
    err: "error: Namespace a was not applied\n",
  });
  // Somebody who is not there any more left his lock.
  writeFileSync(join(state, "applied.lock"), "999999999");
  expect(await run("delete --all --mesh kept")).toMatchObject({ code: 0, out: "DELETED\nNamespace b\n" });
  expect(readdirSync(join(state, "applied"))).toEqual([]);
});

test("an Envoy that is absent, or something else, is told before anything starts", async () => {
  writeFileSync(join(home, "a.yaml"), "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n");
  for (const [file, why] of [
    ["nowhere", "ENOENT"],
    ["/bin/ls", "it is no Envoy"],
  ]) {
    const { code, err } = await run(`up a.yaml --data-plane envoy --envoy ${file}`);
    expect(code).toBe(1);
    expect(err).toMatch(new RegExp(`${file} cannot be used: ${why}; say where an Envoy 1\\.40 is`));
  }
});
