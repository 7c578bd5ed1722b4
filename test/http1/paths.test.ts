/** One path for authorization, route and backend (rows 099-111), and the answers that the handler gives (082, 097, 122). */
import type { MessageInitShape } from "@bufbuild/protobuf";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { PermissionSchema } from "#xds/gen/envoy/config/rbac/v3/rbac_pb.js";
import { Backend } from "./backend.ts";
import { talk } from "./client.ts";
import { type Plane, type PlaneOptions, startPlane } from "./plane.ts";

let backend: Backend;
let plane: Plane | null = null;
beforeEach(async () => {
  backend = await new Backend().listen();
});
afterEach(async () => {
  await plane?.stop();
  backend.close();
});

async function ask(raw: string): Promise<number> {
  const { answers } = await talk(plane!.port, [Buffer.from(raw, "latin1")]);
  expect(answers).toHaveLength(1);
  return answers[0]!.status;
}
const get = (path: string, host = "a"): string =>
  `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`;
/** Status, and the path that the backend got. */
async function pathOf(path: string): Promise<string> {
  backend.reset();
  const status = await ask(get(path));
  return status === 200 ? backend.requests[0]!.target : String(status);
}

const deny = (permission: MessageInitShape<typeof PermissionSchema>): NonNullable<PlaneOptions["rbac"]> => ({
  rules: {
    action: 1, // DENY
    policies: {
      p: {
        permissions: [permission],
        principals: [{ identifier: { case: "any", value: true } }],
      },
    },
  },
});
const denyPrefix = (prefix: string): NonNullable<PlaneOptions["rbac"]> =>
  deny({
    rule: {
      case: "urlPath",
      value: { rule: { case: "path", value: { matchPattern: { case: "prefix", value: prefix } } } },
    },
  });
const MODES = {
  BASE: { normalizePath: true },
  MERGE_SLASHES: { normalizePath: true, mergeSlashes: true },
  DECODE_AND_MERGE_SLASHES: { normalizePath: true, mergeSlashes: true, pathWithEscapedSlashesAction: 4 },
  REDIRECT: { normalizePath: true, pathWithEscapedSlashesAction: 3 },
  REJECT: { normalizePath: true, pathWithEscapedSlashesAction: 2 },
} as const;

describe("a denied prefix stays denied", () => {
  test.each([
    ["100", "BASE", "/private"],
    ["100", "BASE", "/private?q"],
    ["100", "BASE", "/private#f"],
    ["100", "BASE", "/public/../private"],
    ["100", "BASE", "/public/./../private"],
    ["100", "BASE", "/public/%2E%2E/private"],
    ["100", "BASE", "/public/%2e/%2E%2E/private"],
    ["100", "BASE", "/%70rivate"],
    ["100", "BASE", "http://b/x/../private"],
    ["103", "BASE", "/public\\..\\private"],
    ["107", "BASE", "/public/..;/private"],
    ["107", "BASE", "/public/..;foo=bar/private"],
    ["107", "BASE", "/.;/private"],
    ["107", "BASE", "/public/%2e%2e;x/private"],
    ["108", "BASE", "/private;x=y/action"],
    ["101", "MERGE_SLASHES", "//private"],
    ["101", "MERGE_SLASHES", "/public//..//private"],
    ["103", "MERGE_SLASHES", "/\\/\\/private"],
    ["102", "DECODE_AND_MERGE_SLASHES", "/public%2f..%2fprivate"],
    ["102", "DECODE_AND_MERGE_SLASHES", "/%2fprivate"],
    ["102", "DECODE_AND_MERGE_SLASHES", "/public%5C..%5cprivate"],
  ] as const)("%s %s %s", async (_row, mode, path) => {
    plane = await startPlane({
      backendPort: backend.port,
      manager: MODES[mode],
      rbac: denyPrefix("/private"),
    });
    expect(await pathOf(path)).toBe("403");
    expect(backend.bytes).toBe("");
    expect(await pathOf("/public")).toBe("/public");
  });
});

test("what is forwarded is what was judged", async () => {
  plane = await startPlane({ backendPort: backend.port });
  expect(await pathOf("/a/../b/./c?d=/../e")).toBe("/b/c?d=/../e");
  expect(await pathOf("/%41dmin")).toBe("/Admin");
  expect(await pathOf("/%252e%252e/admin")).toBe("/%252e%252e/admin");
  expect(await pathOf("/a%2fb")).toBe("/a%2fb");
  expect(await pathOf("/ADMIN/")).toBe("/ADMIN/");
  expect(await pathOf("/admin?")).toBe("/admin?");
});

test.each(["/admin%00", "/%zz", "/%", "/%2", "/a/%e", "/a\\%"])(
  "104, 111: %s is 400, closed",
  async (path) => {
    plane = await startPlane({ backendPort: backend.port });
    const { answers, end } = await talk(plane.port, [
      Buffer.from(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\nGET /canary HTTP/1.1\r\nHost: a\r\n\r\n`),
    ]);
    expect(answers.map(({ status }) => status)).toEqual([400]);
    expect(end).toBe("fin");
    expect(backend.bytes).toBe("");
  },
);

test("102: REJECT_REQUEST", async () => {
  plane = await startPlane({ backendPort: backend.port, manager: MODES.REJECT });
  expect(await pathOf("/a%2fb")).toBe("400");
  expect(await pathOf("/a%5Cb")).toBe("400");
  expect(await pathOf("/a?b=%2f")).toBe("/a?b=%2f");
});

test("102: UNESCAPE_AND_REDIRECT", async () => {
  plane = await startPlane({ backendPort: backend.port, manager: MODES.REDIRECT });
  const { answers } = await talk(plane.port, [Buffer.from(get("/%2f%2Fb.test/..%5ca?b=%2f"))]);
  expect(answers.map(({ status, fields }) => [status, fields])).toEqual([
    [307, expect.stringMatching(/^location: \/a\?b=%2f\r$/m)],
  ]);
  expect(backend.bytes).toBe("");
  expect(await pathOf("/a?b=%2f")).toBe("/a?b=%2f");
});

test("099: a host is the same host in any case and with any port, for policy as for route", async () => {
  plane = await startPlane({
    backendPort: backend.port,
    virtualHosts: [
      {
        name: "secret",
        domains: ["secret.com"],
        routes: [
          {
            match: { pathSpecifier: { case: "prefix", value: "/" } },
            action: { case: "directResponse", value: { status: 403 } },
          },
        ],
      },
      {
        name: "other",
        domains: ["*"],
        routes: [
          {
            match: { pathSpecifier: { case: "prefix", value: "/" } },
            action: { case: "route", value: { clusterSpecifier: { case: "cluster", value: "backend" } } },
          },
        ],
      },
    ],
  });
  for (const host of ["secret.com", "SECRET.com", "secret.com:80", "secret.com:8080", "Secret.Com:1"])
    expect(await ask(get("/", host)), host).toBe(403);
  expect(await ask(`GET http://SECRET.com/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`)).toBe(403);
  expect(await ask(get("/", "a"))).toBe(200);
});

test("082: HTTP/1.0", async () => {
  plane = await startPlane({ backendPort: backend.port });
  expect(await ask("GET / HTTP/1.0\r\nHost: a\r\n\r\n")).toBe(200);
  expect(await ask("GET / HTTP/1.0\r\n\r\n")).toBe(400);
  await plane.stop();
  plane = await startPlane({ backendPort: backend.port, manager: { httpProtocolOptions: {} } });
  expect(await ask("GET / HTTP/1.0\r\nHost: a\r\n\r\n")).toBe(426);
  expect(await ask("GET / HTTP/1.0\r\n\r\n")).toBe(426);
});

test("097: a valid CONNECT is refused, and nothing after it is HTTP", async () => {
  plane = await startPlane({ backendPort: backend.port });
  expect(await ask("CONNECT b:443 HTTP/1.1\r\nHost: b\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n")).toBe(
    405,
  );
  expect(backend.bytes).toBe("");
});

describe("a policy sees the bytes of every value", () => {
  const headers = (...lines: string[]): string =>
    `GET / HTTP/1.1\r\nHost: a\r\n${lines.map((line) => `${line}\r\n`).join("")}Connection: close\r\n\r\n`;
  const denyRegex = (regex: string): NonNullable<PlaneOptions["rbac"]> =>
    deny({
      rule: {
        case: "header",
        value: {
          name: "x-role",
          headerMatchSpecifier: {
            case: "stringMatch",
            value: { matchPattern: { case: "safeRegex", value: { regex } } },
          },
        },
      },
    });

  test("079: one of several fields is enough", async () => {
    plane = await startPlane({ backendPort: backend.port, rbac: denyRegex("admin") });
    expect(await ask(headers("X-Role: user"))).toBe(200);
    expect(await ask(headers("X-Role: user", "X-Role: admin"))).toBe(403);
    expect(await ask(headers("x-role: admin", "X-Role: user"))).toBe(403);
    expect(await ask(headers("X_Role: admin"))).toBe(200);
  });

  test("075: bytes above 127 do not blind a pattern (CVE-2026-73552)", async () => {
    plane = await startPlane({ backendPort: backend.port, rbac: denyRegex(".*admin.*") });
    for (const noise of ["\xff", "\xc3\x28", "\xe2\x28\xa1", "\xf0\x9f\x98\x80", "\xed\xa0\x80"]) {
      expect(await ask(headers(`X-Role: ${noise}admin${noise}`))).toBe(403);
      backend.reset();
      expect(await ask(headers(`X-Role: ${noise}`))).toBe(200);
      expect(backend.requests[0]!.fields).toContainEqual(["x-role", noise]);
    }
  });

  test("077: names that mean something to JavaScript are names", async () => {
    plane = await startPlane({ backendPort: backend.port, rbac: denyRegex("admin") });
    expect(await ask(headers("__proto__: admin", "constructor: x", "toString: y", "hasOwnProperty: z"))).toBe(
      200,
    );
    expect(({} as Record<string, unknown>)["admin"]).toBe(undefined);
  });
});
