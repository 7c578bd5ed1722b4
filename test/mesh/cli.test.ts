/** The windows on a running mesh. What `weft explain` says is what the mesh does: each question is also asked for real. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Explanation } from "#cli/explain/contract.ts";
import { ask } from "#test/harness/ask.ts";
import { type Mesh, startMesh } from "#test/harness/mesh.ts";
import { noNamespaces } from "#test/harness/namespaces.ts";

const root = join(import.meta.dirname, "../..");
const rules = readFileSync(join(import.meta.dirname, "cli/rules.yaml"), "utf8");
let mesh: Mesh;
beforeAll(async () => {
  mesh = await startMesh({
    dataPlane: "weft",
    mode: noNamespaces() === "" ? "transparent" : "explicit",
    from: join(root, "examples/bookinfo"),
  });
  await mesh.apply(rules);
}, 90_000);
afterAll(() => mesh?.stop());

async function explain(...args: string[]): Promise<{ code: number; said: Explanation }> {
  const { code, out, err } = await mesh.cli("explain", ...args, "-o", "json");
  if (out === "") throw new Error(err);
  return { code, said: JSON.parse(out) };
}

const question = (
  status: number,
  title: string,
  from: string,
  method: string,
  url: string,
  ...headers: string[]
) => ({ status, title, from, method, url, headers }) as const;

describe("explain says what the mesh answers", () => {
  test.each([
    question(200, "allowed", "productpage", "GET", "http://details:9080/details/0"),
    question(200, "a rewritten path", "productpage", "GET", "http://details.default:9080/alias/0"),
    question(403, "wrong method", "productpage", "POST", "http://details:9080/details/0"),
    question(403, "wrong caller", "productpage", "GET", "http://ratings:9080/ratings/0"),
    question(403, "a DENY path", "productpage", "GET", "http://details:9080/details/secret"),
    question(403, "a DENY header", "productpage", "GET", "http://details:9080/details/0", "x-bad: yes"),
    question(404, "no route", "productpage", "GET", "http://details:9080/other"),
    question(418, "an injected fault", "productpage", "GET", "http://details:9080/abort"),
    question(451, "a direct response", "productpage", "GET", "http://details:9080/direct"),
    question(308, "a redirect", "productpage", "GET", "http://details:9080/moved"),
    question(503, "an unknown subset", "productpage", "GET", "http://details:9080/nowhere"),
    question(503, "plaintext to STRICT", "productpage", "GET", "http://reviews:9080/reviews/0"),
  ])("$status $title", async ({ status, from, method, url, headers }) => {
    const fields = headers.flatMap((field) => ["-H", field]);
    const real = await ask((c) => mesh.exec(mesh.pod(`${from}-v1`).name, c), url, {
      method,
      headers: Object.fromEntries(headers.map((field) => field.split(": "))),
    });
    const { code, said } = await explain("--from", from, method, url, ...fields);
    expect({ real: real.status, explained: said.verdict.status }).toEqual({
      real: status,
      explained: status,
    });
    expect(code).toBe(status === 200 ? 0 : 1);
    expect(said.verdict.reachesApp).toBe(status === 200);
  });

  test.each([
    [200, "/productpage"],
    [404, "/nothing"],
  ])("%i %s at the gateway", async (status, path) => {
    const real = await fetch(`${mesh.gateway}${path}`);
    const { said } = await explain("GET", `${mesh.gateway}${path}`);
    expect([real.status, said.verdict.status]).toEqual([status, status]);
  });
});

test("a denial names the policy, its file and line, and the clause that failed", async () => {
  const { said } = await explain("--from", "productpage", "http://ratings:9080/ratings/0");
  const file = join(mesh.dir, "policies/authorization.yaml");
  const line =
    readFileSync(file, "utf8")
      .split("\n")
      .findIndex(
        (l, i, all) => l.includes("- from:") && all.slice(i - 9, i).some((b) => b.includes("app: ratings")),
      ) + 1;
  expect(said.outcomes).toMatchObject([
    { status: 403, place: { object: "AuthorizationPolicy default/ratings", file, line } },
  ]);
  expect(said.verdict.text).toContain(
    "wants principal cluster.local/ns/default/sa/bookinfo-reviews, but the caller is cluster.local/ns/default/sa/bookinfo-productpage",
  );
  expect(said.verdict.text).toContain(`${file}:${line}`);
});

test("a port that promises gRPC is told to speak HTTP/1.1 alone", async () => {
  await mesh.apply(`apiVersion: v1
kind: Service
metadata: { name: promising }
spec: { selector: { app: details }, ports: [{ name: grpc, port: 9081, targetPort: 9080 }] }
`);
  const { said } = await explain("--from", "productpage", "http://promising.default:9081/details/0");
  const steps = [...said.steps, ...said.destinations.flatMap((d) => d.steps)];
  expect(steps.flatMap((s) => s.details.map((d) => d.text)).join("\n")).toContain(
    "port 9081 is declared grpc: Weft's sidecars speak HTTP/1.1 alone there",
  );
  await mesh.delete("Service", "promising");
});

test("behind the gateway remoteIpBlocks are about its client", async () => {
  await mesh.apply(`apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: not-the-gateway }
spec:
  selector: { matchLabels: { app: productpage } }
  action: DENY
  rules: [{ from: [{ source: { remoteIpBlocks: ["${mesh.pod("istio-ingressgateway").podIp}"] } }] }]
`);
  const real = await fetch(`${mesh.gateway}/productpage`);
  const { said } = await explain("GET", `${mesh.gateway}/productpage`);
  expect({ real: real.status, explained: said.verdict.status }).toEqual({ real: 200, explained: 200 });
  await mesh.delete("AuthorizationPolicy", "not-the-gateway");
});

test("plaintext to STRICT names the PeerAuthentication and the DestinationRule", async () => {
  const { out } = await mesh.cli("explain", "--from", "productpage", "http://reviews:9080/reviews/0");
  expect(out).toMatch(/PeerAuthentication default\/default .*mtls\.yaml:8/);
  expect(out).toMatch(/DestinationRule default\/reviews/);
  expect(out.trimEnd().split("\n\n").at(-1)).toMatch(/^503 because/);
});

test("who asks must be one workload that exists", async () => {
  const several = await mesh.cli("explain", "--from", "reviews", "http://details:9080/");
  expect(several).toMatchObject({
    code: 1,
    err: expect.stringMatching(/reviews-v1.*reviews-v2.*reviews-v3/),
  });
  const none = await mesh.cli("explain", "--from", "nobody", "http://details:9080/");
  expect(none).toMatchObject({ code: 1, err: expect.stringContaining("productpage-v1") });
  expect((await mesh.cli("explain", "http://reviews:9080/")).code).toBe(2);
  const port = await mesh.cli("explain", "--from", "productpage", "http://details/");
  expect(port).toMatchObject({
    code: 1,
    out: expect.stringContaining("Service default/details has no port 80: it has 9080"),
  });
});

test("status, pods and logs: a killed app is restarted, and told", async () => {
  expect((await mesh.cli("status")).code).toBe(0);
  const { name } = mesh.pod("details-v1");
  mesh.kill({ pod: name, part: "app" });
  const row = new RegExp(`${name}\\.default +(yes|no) +yes +1 `);
  await expect.poll(() => mesh.cli("status").then((r) => r.out), { timeout: 20_000 }).toMatch(row);
  await expect
    .poll(() => mesh.cli("get", "po", name).then((r) => r.out), { timeout: 20_000 })
    .toMatch(/yes +Running +1 /);
  expect(await mesh.weft("logs", name, "-c", "istio-proxy", "--tail", "1")).toMatch(/\S/);
  expect(await mesh.cli("logs", "nobody")).toMatchObject({ code: 1, err: expect.stringContaining(name) });
});

test("completion knows the pods and objects of the mesh that runs", async () => {
  const words = async (...at: string[]): Promise<string> => (await mesh.cli("complete", "--", ...at)).out;
  expect(await words("explain", "--from", "product")).toMatch(
    /^productpage-v1\tworkload\nproductpage-v1-0\t/,
  );
  expect(await words("get", "vs", "")).toMatch(/^details\t/m);
  expect(await words("config", "gate")).toMatch(/^gateway\t/);
});

describe("get names things as kubectl does", () => {
  test.each([
    ["po", /^NAMESPACE +NAME +READY +STATUS .*\ndefault +details-v1-0 +yes +Running/],
    [
      "po,svc",
      /default +pod\/details-v1-0 [\s\S]*\n\nNAMESPACE +NAME[\s\S]*default +service\/details +ClusterIP +9080\/TCP/,
    ],
    ["deploy/details-v1", /details-v1 +1\/1 +1 +1 +.*platform\.yaml:\d+/],
    ["deploy/details-v1 svc/details", /deployment\/details-v1[\s\S]*service\/details/],
    ["pods -l app=reviews,version!=v1", /reviews-v2-0[\s\S]*reviews-v3-0/],
    ["all -o name", /^pod\/details-v1-0$[\s\S]*^deployment\.apps\/details-v1$/m],
    ["po -o wide -A", /WORKLOAD[\s\S]*details-v1 /],
    ["gateways.networking.istio.io", /bookinfo-gateway/],
  ])("%s", async (line, expected) => {
    const { code, out } = await mesh.cli("get", ...line.split(" "));
    expect(out).toMatch(expected);
    expect(code).toBe(0);
  });

  test("a selector leaves the others out", async () => {
    expect(await mesh.weft("get", "pods", "-l", "app=reviews,version!=v1")).not.toContain("reviews-v1-0");
  });

  test.each([
    ["foo", 'there is no kind "foo"; known are'],
    ["deploymet", 'did you mean "deployment"?'],
    ["deploy/nobody", 'deployments.apps "nobody" not found'],
    ["po nobody", 'pods "nobody" not found'],
    ["po nobody -n other", 'pods "nobody" not found in namespace other'],
  ])("%s is an error", async (line, said) => {
    expect(await mesh.cli("get", ...line.split(" "))).toMatchObject({
      code: 1,
      out: "",
      err: expect.stringContaining(said),
    });
  });

  test("of several names those that are there are shown", async () => {
    const { code, out, err } = await mesh.cli("get", "po", "details-v1-0", "nobody");
    expect({ code, err }).toEqual({ code: 1, err: 'error: pods "nobody" not found\n' });
    expect(out).toContain("details-v1-0");
  });

  test("what it prints, apply takes back: nothing restarts", async () => {
    const pids = (): (number | undefined)[] =>
      ["details-v1", "reviews-v2"].map((w) => mesh.pid({ pod: mesh.pod(w).name, part: "app" }));
    const before = pids();
    const { out } = await mesh.cli("get", "-o", "yaml");
    expect(out).toMatch(/^apiVersion: v1\nkind: List\n/);
    const applied = await mesh.cliWith(out, "apply", "-f", "-");
    expect(applied).toMatchObject({
      code: 0,
      err: expect.not.stringContaining("error"),
      out: expect.stringContaining("Deployment default/details-v1"),
    });
    await mesh.settled();
    expect((await mesh.cli("get", "-o", "yaml")).out).toBe(out);
    expect(pids()).toEqual(before);
    const one = await mesh.weft("get", "vs/reviews", "-o", "json");
    expect(JSON.parse(one)).toMatchObject({ kind: "VirtualService", metadata: { name: "reviews" } });
    expect((await mesh.cliWith(one, "apply", "-f", "-")).code).toBe(0);
    await mesh.weft("delete", "--all");
    await mesh.apply(rules);
    expect(pids()).toEqual(before);
  });
});

test("get -w shows each change in a line until it is ended", async () => {
  const child = spawn(process.execPath, ["cli/main.ts", "get", "pods", "-l", "app=ratings", "-w"], {
    cwd: root,
    env: { ...process.env, XDG_STATE_HOME: dirname(dirname(mesh.stateDir)) },
    stdio: ["ignore", "pipe", "inherit"],
  });
  let out = "";
  child.stdout.on("data", (piece) => (out += piece));
  await expect
    .poll(() => out, { timeout: 10_000 })
    .toMatch(/^NAMESPACE +NAME .*\ndefault +pod\/ratings-v1-\S+ +yes/);
  await mesh.weft("scale", "deploy/ratings-v1", "--replicas", "2");
  await expect
    .poll(() => out.match(/pod\/ratings-v1-\S+ +yes/g)?.length, { timeout: 20_000 })
    .toBeGreaterThan(1);
  await mesh.weft("scale", "deploy/ratings-v1", "--replicas", "1");
  await expect.poll(() => out, { timeout: 20_000 }).toMatch(/\(gone\) Pod default\/ratings-v1-/);
  expect(out.match(/NAMESPACE/g)).toHaveLength(1);
  child.kill("SIGINT");
  const [code] = await once(child, "exit");
  expect(code).toBe(0);
});

/** `weft ARGS` as a program of its own. */
function program(
  args: readonly string[],
  stdin = "",
): Promise<{ code: number | null; out: string; err: string }> {
  const child = spawn(process.execPath, ["cli/main.ts", ...args], {
    cwd: root,
    env: { ...process.env, XDG_STATE_HOME: dirname(dirname(mesh.stateDir)) },
  });
  let out = "";
  let err = "";
  child.stdout.on("data", (piece) => (out += piece));
  child.stderr.on("data", (piece) => (err += piece));
  child.stdin.end(stdin);
  return new Promise((done) => child.once("close", (code) => done({ code, out, err })));
}

describe("exec runs a program where a container runs", () => {
  const pod = "productpage-v1-0";

  test("with its environment, folder and network, and hands on input, output and exit code", async () => {
    const script = 'echo "$POD_IP $(pwd)"; cat; exit 7';
    const { code, out } = await program(["exec", pod, "--", "sh", "-c", script], "from here");
    const ip = JSON.parse(await mesh.weft("get", "po", pod, "-o", "json")).status.podIP;
    const app = mesh.mode === "transparent" ? ip : mesh.pod("productpage-v1").appIp;
    expect({ code, out }).toEqual({ code: 7, out: `${app} ${mesh.dir}\nfrom here` });
  });

  test("calls a service as the application does", async () => {
    const get = `fetch("http://details:9080/details/0").then((r) => console.log(r.status))`;
    const { out } = await program(["exec", "deploy/productpage-v1", "--", process.execPath, "-e", get]);
    expect(out).toBe("200\n");
  });

  test.each([
    [["nobody", "--", "true"], 1, 'no pod or workload "nobody"'],
    [[pod, "-c", "nobody", "--", "true"], 1, "has no container"],
    [[pod, "--", "no-such-program"], 127, "no-such-program"],
    [[pod, "--", "sh", "-c", "kill -9 $$"], 137, ""],
    [[pod], 2, "command"],
  ])("%j ends with %i", async (args, code, said) => {
    expect(await program(["exec", ...args])).toMatchObject({ code, err: expect.stringContaining(said) });
  });
});

test("port-forward leads to the pod past its proxy, of a Service to the port that its own leads to", async () => {
  const child = spawn(process.execPath, ["cli/main.ts", "port-forward", "svc/ratings", ":9080", ":http"], {
    cwd: root,
    env: { ...process.env, XDG_STATE_HOME: dirname(dirname(mesh.stateDir)) },
    stdio: ["ignore", "pipe", "inherit"],
  });
  let out = "";
  child.stdout.on("data", (piece) => (out += piece));
  await expect.poll(() => out.split("\n").length, { timeout: 10_000 }).toBe(3);
  const ports = [...out.matchAll(/127\.0\.0\.1:(\d+) -> (\S+) of svc\/ratings/g)];
  expect(ports.map(([, , remote]) => remote)).toEqual(["9080", "http"]);
  for (const [, port] of ports) expect((await fetch(`http://127.0.0.1:${port}/ratings/0`)).status).toBe(200);
  child.kill("SIGTERM");
  const [code] = await once(child, "exit");
  expect(code).toBe(0);
  expect(await program(["port-forward", "svc/ratings", "1:2"])).toMatchObject({
    code: 1,
    err: "error: service ratings has no port 2: 9080\n",
  });
});

describe("describe tells what an object means to the mesh", () => {
  test.each([
    [
      "pod details-v1-0",
      [
        /Made by: +Deployment details-v1/,
        /9080 +http +STRICT +PeerAuthentication default\/default .*mtls\.yaml:\d+/,
        /AuthorizationPolicy default\/details +ALLOW +.*authorization\.yaml:\d+/,
      ],
    ],
    [
      "svc/reviews",
      [
        /VirtualService default\/reviews +where requests go +.*reviews-canary\.yaml:\d+/,
        /reviews-v2-\d+ +\S+ +yes +Running/,
      ],
    ],
    [
      "deploy/reviews-v1",
      [
        /Rollout: +deployment "reviews-v1" successfully rolled out/,
        /spiffe:\/\/cluster\.local\/ns\/default\/sa\/bookinfo-reviews/,
      ],
    ],
    ["vs/reviews", [/reviews {2}-> reviews\.default\.svc\.cluster\.local/, /weight: 90/]],
    ["ap/ratings", [/Holds for:\n {2}ratings-v1-\d+\.default/]],
    [
      "gw/bookinfo-gateway",
      [/Served by:\n {2}istio-ingressgateway-0\.default/, /VirtualService default\/bookinfo/],
    ],
  ] as const)("%s", async (line, expected) => {
    const { code, out } = await mesh.cli("describe", ...line.split(" "));
    expect(code).toBe(0);
    for (const one of expected) expect(out).toMatch(one);
  });

  test("with the warnings that the mesh has about it, and no secret", async () => {
    await mesh.apply(`apiVersion: v1
kind: Secret
metadata: { name: hidden }
stringData: { password: correct-horse }
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: nobodys }
spec: { selector: { matchLabels: { app: nobody } }, mtls: { mode: STRICT } }
`);
    expect(await mesh.weft("describe", "pa/nobodys")).toMatch(/Issues:\n {2}warning: \S+:\d+: .*nobodys/);
    const said = await mesh.weft("describe", "secret/hidden");
    expect(said).toMatch(/Data:\n {2}password$/m);
    const all = await mesh.cli("get", "-o", "yaml");
    expect(all.err).toBe("left out, because their values are not shown: Secret default/hidden\n");
    expect(all.out).not.toContain("hidden");
    expect(said).not.toContain("correct-horse");
  });
});

test("scale, restart and rollout act on workloads, and say what they did", async () => {
  expect(await mesh.weft("scale", "deploy/ratings-v1", "--replicas", "2")).toMatch(
    /deployment\.apps\/ratings-v1 scaled\n.*until spec\.replicas changes/,
  );
  expect(await mesh.weft("rollout", "status", "deployment/ratings-v1")).toContain("successfully rolled out");
  expect(await mesh.weft("get", "deploy/ratings-v1")).toMatch(/ratings-v1 +2\/2/);
  expect(await mesh.weft("scale", "deploy", "ratings-v1", "--replicas=1")).toContain("scaled");
  const { pid } = { pid: mesh.pid({ pod: mesh.pod("ratings-v1").name, part: "app" }) };
  expect(await mesh.weft("restart", "ratings-v1")).toContain("restarted");
  await mesh.weft("rollout", "status", "deployment", "ratings-v1");
  await expect
    .poll(() => mesh.pid({ pod: mesh.pod("ratings-v1").name, part: "app" }), { timeout: 20_000 })
    .not.toBe(pid);
  expect(await mesh.weft("rollout", "history", "deploy/ratings-v1")).toMatch(
    /REVISION[\s\S]*\n1 [\s\S]*\n2 .*yes/,
  );
  expect(await mesh.cli("rollout", "status", "deploy/nobody")).toMatchObject({
    code: 1,
    err: expect.stringContaining("deployment/ratings-v1"),
  });
  expect((await mesh.cli("scale", "deploy/ratings-v1")).code).toBe(2);
  expect((await mesh.cli("rollout", "up", "deploy/ratings-v1")).code).toBe(2);
});

test("traces of a service are found by every name that people give it", async () => {
  await fetch(`${mesh.gateway}/productpage`);
  for (const name of [
    "productpage",
    "productpage.default",
    "productpage.default.svc.cluster.local",
    "svc/productpage",
    "productpage-v1",
  ])
    expect(await mesh.weft("trace", "--service", name)).toMatch(/GET \/productpage/);
  expect(await mesh.cli("trace", "--service", "nobody")).toMatchObject({
    code: 1,
    err: expect.stringContaining("productpage.default"),
  });
});
