/** Path templates mean the same in our sidecar and in a stock Envoy: templates x paths, and what both refuse. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { compileUriTemplate } from "#sidecar/path/uri-template.ts";
import { findEnvoy } from "#test/harness/envoy.ts";

const envoy = findEnvoy();
const missing = "missing" in envoy ? envoy.missing : "";
if (missing !== "" && process.env["CI"]) throw new Error(`in CI nothing may be missing: ${missing}`);

const TEMPLATES = [
  "/",
  "/*",
  "/**",
  "/a",
  "/a/",
  "/c/*",
  "/c/**",
  "/c/*/",
  "/c/**/",
  "/api/**/x",
  "/api/*/x",
  "/api/*/*/x/**",
  "/*/*/**",
  "/*/**/x/y",
  "/**/x",
  "/*.html",
  "/**.html",
  "/c/**/x.html",
  "/c/*/x%20y=1",
  "/{a}/{b=*}/{c=x/**}",
  "/{a=**}/x",
  "/a+b/(c)/$d.e",
];
const PATHS = [
  "/",
  "//",
  "/a",
  "/a/",
  "/a//",
  "/c",
  "/c/",
  "/c//",
  "/c/d",
  "/c/d/",
  "/c/d/e",
  "/c//e",
  "/api/x",
  "/api//x",
  "/api/1/x",
  "/api/1/2/x",
  "/api/1/2/x/",
  "/api/1/2/x/y/z",
  "/api/1/x/x",
  "/x",
  "/1/x/y",
  "/1/2/x/y",
  "/1/x/x/y",
  "/.html",
  "/a.html",
  "/a.htmlx",
  "/a/b.html",
  "/c/x.html",
  "/c/d/x.html",
  "/c/dx.html",
  "/c/d/x%20y=1",
  "/c/%2f/x%20y=1",
  "/c/*",
  "/c/a*b",
  "/c/a=b",
  '/c/"',
  "/c/{d}",
  "/c/a|b",
  "/c/d?q=/x",
  "/c/d?x.html",
  "/p/q/x/r",
  "/p/q/x",
  "/a+b/(c)/$d.e",
  "/aab/(c)/$d.e",
  "/a+b/c/$d.e",
  "/aa/b",
  "/aa",
  "/a*",
  "/a*/b",
  "/*",
  "/b*",
  "/a+b/(c)/$dxe",
];

/** An Envoy whose virtual host `t<i>` lets pass what template i matches. */
function config(folder: string, templates: readonly string[]): unknown {
  const typed = (type: string, fields: object) => ({ "@type": `type.googleapis.com/${type}`, ...fields });
  const rules = (template: string) => ({
    action: "ALLOW",
    policies: {
      template: {
        principals: [{ any: true }],
        permissions: [
          {
            uri_template: {
              name: "uri-template",
              typed_config: typed("envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig", {
                path_template: template,
              }),
            },
          },
        ],
      },
    },
  });
  const manager = {
    stat_prefix: "test",
    route_config: {
      virtual_hosts: templates.map((template, i) => ({
        name: `t${i}`,
        domains: [`t${i}`],
        routes: [{ match: { prefix: "/" }, direct_response: { status: 200 } }],
        typed_per_filter_config: {
          rbac: typed("envoy.extensions.filters.http.rbac.v3.RBACPerRoute", {
            rbac: { rules: rules(template) },
          }),
        },
      })),
    },
    http_filters: [
      { name: "rbac", typed_config: typed("envoy.extensions.filters.http.rbac.v3.RBAC", {}) },
      { name: "router", typed_config: typed("envoy.extensions.filters.http.router.v3.Router", {}) },
    ],
  };
  return {
    static_resources: {
      listeners: [
        {
          name: "test",
          address: { pipe: { path: join(folder, "http") } },
          filter_chains: [
            {
              filters: [
                {
                  name: "http",
                  typed_config: typed(
                    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                    manager,
                  ),
                },
              ],
            },
          ],
        },
      ],
    },
  };
}

describe.skipIf(missing !== "")(
  `beside a stock Envoy${missing === "" ? "" : ` (skipped: ${missing})`}`,
  () => {
    let folder = "";
    let proxy: ChildProcess;
    const path = "path" in envoy ? envoy.path : "";

    beforeAll(async () => {
      folder = mkdtempSync(join(tmpdir(), "weft-template-"));
      writeFileSync(join(folder, "envoy.json"), JSON.stringify(config(folder, TEMPLATES)));
      const options = ["-c", join(folder, "envoy.json"), "--use-dynamic-base-id", "--concurrency", "1"];
      proxy = spawn(path, [...options, "-l", "error"], { stdio: "ignore" });
      await vi.waitFor(async () => (await open(folder)).destroy(), { timeout: 30_000 });
    }, 40_000);
    afterAll(() => {
      proxy.kill();
      rmSync(folder, { recursive: true, force: true });
    });

    test("a template matches the same paths", async () => {
      const socket = await open(folder);
      for (const [i, template] of TEMPLATES.entries()) {
        const matches = compileUriTemplate(template);
        if (typeof matches === "string") throw new Error(`${template}: ${matches}`);
        const theirs: string[] = [];
        for (const target of PATHS) if ((await ask(socket, `t${i}`, target)) === 200) theirs.push(target);
        expect(
          PATHS.filter((target) => matches(target.split("?", 1)[0]!)),
          template,
        ).toEqual(theirs);
      }
      socket.destroy();
    });

    test.each([
      "",
      "a",
      "*",
      "/*/**/*",
      "/**/**",
      "/**/*",
      "/**/{a}",
      "/a//b",
      "/[x]/*",
      "/*a/b",
      "/**a/b",
      "/{a",
      "/{}",
      "/{1}",
      "/{a}/{a}",
      "/{a=}",
      "/{a=x/}",
      "/{a=/x}",
      "/{a}/{b}/{c}/{d}/{e}/{f}",
      "/{abcdefghijklmnopq}",
      "/a b",
      '/"',
      "/ä",
    ])("%j is refused", (template) => {
      writeFileSync(join(folder, "bad.json"), JSON.stringify(config(folder, [template])));
      const options = ["--mode", "validate", "-c", join(folder, "bad.json"), "--use-dynamic-base-id"];
      expect(spawnSync(path, options).status, "Envoy takes it").not.toBe(0);
      expect(compileUriTemplate(template)).toBeTypeOf("string");
    });
  },
);

test.each(["/a*", "/a*/b", "/***"])("%j, which Envoy takes for a repetition, is refused", (template) => {
  expect(compileUriTemplate(template)).toBeTypeOf("string");
});

test("a long path is judged in one pass", () => {
  const matches = compileUriTemplate("/*/*/**/x");
  if (typeof matches === "string") throw new Error(matches);
  expect(matches(`${"/a".repeat(1_000_000)}/x`)).toBe(true);
  expect(matches(`${"/a".repeat(1_000_000)}/y`)).toBe(false);
});

function open(folder: string): Promise<Socket> {
  return new Promise((done, fail) => {
    const socket = connect(join(folder, "http"), () => done(socket)).once("error", fail);
  });
}

/** The status of a GET; answers here have no body. */
function ask(socket: Socket, host: string, target: string): Promise<number> {
  return new Promise((done, fail) => {
    let text = "";
    const onData = (chunk: Buffer): void => {
      text += chunk;
      const [head, ...rest] = text.split("\r\n\r\n");
      const length = Number(/content-length: (\d+)/.exec(head!)?.[1] ?? 0);
      if (rest.length === 0 || rest.join("\r\n\r\n").length < length) return;
      socket.off("data", onData).off("close", onClose);
      done(Number(text.split(" ")[1]));
    };
    const onClose = (): void => fail(new Error(`closed at ${target}: ${text}`));
    socket.on("data", onData).once("close", onClose);
    socket.write(`GET ${target} HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
  });
}
