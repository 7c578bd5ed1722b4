import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  chmodSync,
  closeSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { TestClock } from "#lib/clock.ts";
import { type FileSource, type FileSourceOptions, watchFiles } from "./file.ts";
import { LastGood } from "./last-good.ts";
import { WAIT_MS } from "./standing.ts";

const account = (name: string) => `apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: ${name}}\n`;
const route = (timeout: string) => `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: route
spec:
  hosts: [shop]
  http:
    - match:
        - uri:
            prefix: /slow
      timeout: ${timeout}
      route:
        - destination:
            host: shop
    - route:
        - destination:
            host: shop
            subset: v1
`;
const DENY = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: deny
spec:
  action: DENY
  rules:
    - to:
        - operation:
            paths:
              - /admin
    - to:
        - operation:
            paths:
              - /internal
              - /secret
`;

let dir: string;
let source: FileSource | undefined;
let clock: TestClock;
const at = (name: string) => join(dir, "policies", name);
const names = () => source!.objects().map((o) => o.name);
const rules = () => {
  const deny = source!.objects().find((o) => o.name === "deny");
  return JSON.stringify((deny?.raw["spec"] as { rules?: unknown } | undefined)?.rules ?? null);
};
const ALL = JSON.stringify([
  { to: [{ operation: { paths: ["/admin"] } }] },
  { to: [{ operation: { paths: ["/internal", "/secret"] } }] },
]);
/** Time goes by, and the folder is looked at meanwhile. */
const wait = (ms: number) => {
  for (let passed = 0; passed < ms; passed += 100) {
    clock.advance(Math.min(100, ms - passed));
    source!.reload();
  }
};
const start = (options: FileSourceOptions = {}) => {
  source?.close();
  source = watchFiles([join(dir, "policies")], () => {}, {
    clock,
    lastGood: new LastGood(join(dir, "last-good"), () => {}),
    ...options,
  });
};
const awaited = () => source!.awaited().map(({ issue }) => `${basename(issue.file)}: ${issue.object}`);

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "wf-"));
  mkdirSync(join(dir, "policies"));
  clock = new TestClock();
});
afterEach(() => {
  source?.close();
  source = undefined;
  rmSync(dir, { recursive: true });
});

test("a file renamed into place, a new folder and a removed file are seen", async () => {
  const file = at("a.yaml");
  writeFileSync(file, account("one"));
  let changes = 0;
  source = watchFiles([dir], () => changes++);
  expect(names()).toEqual(["one"]);
  for (const name of ["one", "two"]) {
    writeFileSync(`${file}.new`, `${account(name)}---\n${account("three")}`);
    renameSync(`${file}.new`, file);
    await expect.poll(names).toEqual(expect.arrayContaining([name, "three"]));
  }
  expect(changes).toBe(2);
  mkdirSync(at("more"));
  writeFileSync(at("more/b.yaml"), account("four"));
  await expect.poll(names).toContain("four");
  rmSync(at("more"), { recursive: true });
  await expect.poll(names, { timeout: 20_000 }).not.toContain("four");
});

test("a file that is being written in place keeps its last good objects until it settles", () => {
  writeFileSync(at("a.yaml"), account("one"));
  start();
  writeFileSync(at("a.yaml"), account("two"));
  source!.reload();
  expect(names()).toEqual(["one"]);
  wait(100);
  expect(names()).toContain("two");
});

test("what is renamed into place by the platform is read at once, though its inode is the former one's", () => {
  writeFileSync(at("a.yaml"), account("one"));
  start({ renamed: join(dir, "policies") });
  writeFileSync(at("a.yaml"), account("two"));
  source!.reload();
  expect(names()).toEqual(["two"]);
  rmSync(at("a.yaml"));
  source!.reload();
  expect(names()).toEqual([]);
});

const put = (name: string, text: string) => writeFileSync(at(name), text);
/** [how a file is saved, what is done, one step each; between the steps time goes by] */
const SAVES: readonly (readonly [string, readonly ((text: string) => void)[]])[] = [
  ["removed and created", [() => rmSync(at("deny.yaml")), (text) => put("deny.yaml", text)]],
  [
    "moved away and created (vim with backup)",
    [
      () => renameSync(at("deny.yaml"), at("deny.yaml~")),
      () => put("deny.yaml", ""),
      (text) => put("deny.yaml", text),
      () => rmSync(at("deny.yaml~")),
    ],
  ],
  ["truncated and written later", [() => truncateSync(at("deny.yaml")), (text) => put("deny.yaml", text)]],
  [
    "written in chunks",
    [
      () => truncateSync(at("deny.yaml")),
      ...Array.from(
        { length: Math.ceil(DENY.length / 7) },
        (_, i) => (text: string) => put("deny.yaml", text.slice(0, 7 * i)),
      ),
      (text) => put("deny.yaml", text),
    ],
  ],
  [
    "created anew in chunks (rm, then append)",
    [
      () => rmSync(at("deny.yaml")),
      ...DENY.split(/(?<=\n)/).map((_, i) => (text: string) => {
        appendFileSync(at("deny.yaml"), text.split(/(?<=\n)/)[i] ?? "");
      }),
      (text) => put("deny.yaml", text),
    ],
  ],
  [
    "copied over from beside it",
    [
      (text) => put("deny.yaml.orig", text.slice(0, 300)),
      () => copyFileSync(at("deny.yaml.orig"), at("deny.yaml")),
      (text) => put("deny.yaml", text),
    ],
  ],
  [
    "by a link that is swapped",
    [
      () => rmSync(at("deny.yaml")),
      (text) => {
        writeFileSync(join(dir, "real.yaml"), text);
        symlinkSync(join(dir, "real.yaml"), at("deny.yaml"));
      },
      () => rmSync(join(dir, "real.yaml")),
      (text) => writeFileSync(join(dir, "real.yaml"), text),
    ],
  ],
  [
    "with the folder that is moved away and back",
    [
      () => renameSync(join(dir, "policies"), join(dir, "away")),
      () => renameSync(join(dir, "away"), join(dir, "policies")),
    ],
  ],
  [
    "with the folder that is removed and checked out",
    [
      () => rmSync(join(dir, "policies"), { recursive: true }),
      () => mkdirSync(join(dir, "policies")),
      (text) => put("other.yaml", account("other")) ?? put("deny.yaml", text),
    ],
  ],
  [
    "taken into another file, the old one first",
    [() => rmSync(at("deny.yaml")), (text) => put("z.yaml", text)],
  ],
];

describe.each(SAVES)("%s", (_how, steps) => {
  test.each([10, 150, 1000])(
    "%i ms between the steps: nothing opens, and the new text takes effect",
    (ms) => {
      put("deny.yaml", DENY);
      put("other.yaml", account("other"));
      start();
      const edits = steps.some((step) => step.length > 0);
      for (const change of edits ? [DENY, DENY.replace("/admin", "/administration"), DENY] : [DENY]) {
        for (const step of steps) {
          step(change);
          for (let passed = 0; passed < ms; passed += 50) {
            wait(Math.min(ms, 50));
            expect(rules()).toMatch(/\/admin.*\/internal.*\/secret/);
          }
        }
        // In less than a second, and nothing is awaited.
        wait(900);
        expect(rules()).toBe(change === DENY ? ALL : ALL.replace("/admin", "/administration"));
        expect(awaited()).toEqual([]);
        expect(names().sort()).toEqual(["deny", "other"]);
        // Back to where it began.
        if (!steps.some((step) => String(step).includes("z.yaml"))) continue;
        renameSync(at("z.yaml"), at("deny.yaml"));
        wait(100);
      }
    },
  );
});

test("a slow writer is waited for as long as it has the file open", () => {
  put("deny.yaml", DENY);
  start();
  const fd = openSync(at("deny.yaml"), "w");
  const changed = `${account("first")}---\n${DENY.replace("DENY", "ALLOW")}---\n${account("last")}`;
  for (let from = 0; from < changed.length; from += 40) {
    writeSync(fd, changed.slice(from, from + 40));
    wait(3000);
    expect(names()).toEqual(["deny"]);
    expect(rules()).toBe(ALL);
  }
  closeSync(fd);
  wait(200);
  expect(names()).toEqual(["first", "deny", "last"]);
  expect(source!.objects()[1]?.spec).toMatchObject({ action: "ALLOW" });
});

test("what is changed in place takes effect at once, though the text becomes shorter", () => {
  put("route.yaml", route("10s"));
  put("deny.yaml", DENY);
  start();
  put("route.yaml", route("1s"));
  put("deny.yaml", DENY.replace("              - /internal\n", ""));
  wait(200);
  expect(rules()).toBe(ALL.replace('"/internal",', ""));
  const http = () => {
    const found = source!.objects().find((o) => o.name === "route");
    return (found!.raw["spec"] as { http: { timeout?: string }[] }).http.map((one) => one.timeout);
  };
  expect(http()).toEqual(["1s", undefined]);
  put("route.yaml", route("1s").replace(/ {4}- match.*?(?= {4}- route)/s, ""));
  wait(200);
  expect(http()).toEqual([undefined]);
});

const NEW_RULE = "    - to:\n        - operation:\n            paths:\n              - /new\n";
const NARROW_RULE =
  "    - to:\n        - operation:\n            methods: [GET]\n            paths: [/admin]\n";
describe.each([
  ["a rule", "  rules:\n", NEW_RULE, false],
  ["a value", "              - /internal\n", "              - /new\n", true],
  ["a rule with more fields", "  rules:\n", NARROW_RULE, false],
] as const)("%s put in front of the others", (_what, place, added, before) => {
  const one = DENY.replace(/ {4}- to:\n.*?(?= {4}- to)/s, "");
  const edited = one.replace(place, before ? added + place : place + added);

  test("and saved in two writes opens nothing in between", () => {
    put("deny.yaml", one);
    start();
    put("deny.yaml", edited.slice(0, edited.indexOf(added) + added.length));
    for (let passed = 0; passed < 1500; passed += 100) {
      wait(100);
      expect(rules()).toMatch(/\/internal.*\/secret/);
    }
    put("deny.yaml", edited);
    wait(200);
    expect(rules()).toMatch(/\/internal.*\/secret/);
    expect(rules()).toContain(before ? "/new" : '},{"to"');
    expect(awaited()).toEqual([]);
  });
});

test("the last rule replaced in place holds for two seconds, and is told", () => {
  put("deny.yaml", DENY);
  start();
  put("deny.yaml", DENY.replace("/internal", "/x").replace("/secret", "/y"));
  wait(WAIT_MS.continues - 500);
  expect(rules()).toBe(ALL);
  expect(awaited()).toEqual(["deny.yaml: AuthorizationPolicy default/deny"]);
  wait(1000);
  expect(rules()).toBe(ALL.replace("/internal", "/x").replace("/secret", "/y"));
  expect(awaited()).toEqual([]);
});

test("a name that is written halfway, before its namespace, denies nothing in another namespace", () => {
  const elsewhere = DENY.replace("  name: deny\n", "  name: deny\n  namespace: shop\n");
  put("deny.yaml", elsewhere);
  start();
  put("deny.yaml", elsewhere.slice(0, elsewhere.indexOf("ny\n  namespace")));
  wait(500);
  expect(source!.objects().map((o) => `${o.namespace}/${o.name}`)).toEqual(["shop/deny"]);
});

test("what is taken away goes after its time, what protects last; until then it is told", () => {
  put("deny.yaml", DENY);
  put("route.yaml", route("1s"));
  put("other.yaml", `${account("other")}---\n${account("second")}`);
  start();
  rmSync(at("deny.yaml"));
  rmSync(at("route.yaml"));
  put("other.yaml", account("other"));
  wait(200);
  expect(awaited().sort()).toEqual([
    "deny.yaml: AuthorizationPolicy default/deny",
    "other.yaml: ServiceAccount default/second",
    "route.yaml: VirtualService default/route",
  ]);
  expect(source!.issues()).toEqual([]);
  wait(1000);
  expect(source!.issues().map((i) => i.message)).toContain(
    "its file has gone; it holds until that has been so for some seconds",
  );
  wait(WAIT_MS.gone);
  expect(names().sort()).toEqual(["deny", "other"]);
  wait(WAIT_MS.protects);
  expect(names()).toEqual(["other"]);
  expect(awaited()).toEqual([]);
});

test("nothing goes while another file is broken or the folder changes: what it lost may be there", () => {
  put("deny.yaml", DENY);
  put("other.yaml", account("other"));
  start();
  put("other.yaml", "a: [");
  rmSync(at("deny.yaml"));
  wait(60_000);
  expect(names()).toEqual(["deny", "other"]);
  expect(source!.awaited()[0]?.issue.message).toContain(`until ${at("other.yaml")} is mended`);
  put("other.yaml", account("other"));
  wait(WAIT_MS.protects - 500);
  expect(names()).toContain("deny");
  for (let i = 0; i < 30; i++) {
    put("other.yaml", account(`other${i}`));
    wait(1000);
    expect(names()).toContain("deny");
  }
  wait(WAIT_MS.protects);
  expect(names()).not.toContain("deny");
});

test.each(['{"n": N}', '{"n": N', "- N\n- a: [", "", "count: N\n"])(
  "data that an app writes beside the policies every second keeps nothing from going: %j",
  (text) => {
    put("deny.yaml", DENY);
    put("other.yaml", account("other"));
    put("data.json", text);
    start();
    const write = (round: number) => {
      put("data.json", text.replace("N", String(round)));
      wait(1000);
    };
    for (let round = 0; round < 3; round++) write(round);
    rmSync(at("deny.yaml"));
    for (let round = 0; round < WAIT_MS.protects / 1000 - 1; round++) write(round);
    expect(names()).toEqual(["deny", "other"]);
    write(1);
    write(2);
    expect(names()).toEqual(["other"]);
  },
);

test("a half-written file that stays so is taken at its word in the end", () => {
  put("deny.yaml", DENY);
  start();
  put("deny.yaml", DENY.slice(0, DENY.indexOf("    - to:", DENY.indexOf("/admin"))));
  wait(WAIT_MS.protects - 500);
  expect(rules()).toBe(ALL);
  expect(source!.awaited()[0]?.issue.message).toContain("looks half-written");
  wait(1500);
  expect(rules()).toBe(JSON.stringify([{ to: [{ operation: { paths: ["/admin"] } }] }]));
});

test("a shorter version that is renamed into place is whole", () => {
  put("deny.yaml", DENY);
  start();
  put("deny.yaml.new", DENY.slice(0, DENY.indexOf("    - to:", DENY.indexOf("/admin"))));
  chmodSync(at("deny.yaml.new"), 0o600);
  wait(100);
  // A rename is a change of the inode that is no write.
  execFileSync("sleep", ["0.02"]);
  renameSync(at("deny.yaml.new"), at("deny.yaml"));
  wait(100);
  expect(rules()).toBe(JSON.stringify([{ to: [{ operation: { paths: ["/admin"] } }] }]));
});

test("a folder that is gone keeps all that it said, for as long as it is gone", () => {
  mkdirSync(at("sub"));
  put("sub/deny.yaml", DENY);
  put("other.yaml", account("other"));
  start({ named: [join(dir, "policies")] });
  renameSync(join(dir, "policies"), join(dir, "away"));
  wait(120_000);
  expect(names().sort()).toEqual(["deny", "other"]);
  expect(source!.issues().map((i) => i.message)).toEqual([
    "the folder is not there: what it said stands until it is back",
  ]);
  renameSync(join(dir, "away"), join(dir, "policies"));
  wait(1000);
  expect(source!.issues()).toEqual([]);
  rmSync(at("sub"), { recursive: true });
  wait(WAIT_MS.protects + 100);
  expect(names()).toEqual(["other"]);
});

test("what is applied is not what files say: it takes effect at once, and a save behind it loses nothing", () => {
  const applied = join(dir, "applied");
  mkdirSync(applied);
  put("deny.yaml", DENY);
  source = watchFiles([join(dir, "policies"), applied], () => {}, { clock, renamed: applied });
  writeFileSync(join(applied, "a.json"), DENY.slice(0, DENY.indexOf("    - to:", DENY.indexOf("/admin"))));
  wait(200);
  expect(source.objects().map((o) => [o.origin.kind, (o.spec as { rules: unknown[] }).rules.length])).toEqual(
    [
      ["applied", 1],
      ["file", 2],
    ],
  );
  rmSync(at("deny.yaml"));
  wait(200);
  rmSync(join(applied, "a.json"));
  wait(200);
  expect(rules()).toBe(ALL);
  // A copy that nothing can be made of any more keeps no file of people from being removed.
  writeFileSync(join(applied, "b.json"), "{");
  wait(WAIT_MS.empty + 1000);
  expect(names()).toEqual([]);
});

test("a folder that is long away, and comes back bit by bit, loses nothing", () => {
  put("deny.yaml", DENY);
  put("other.yaml", account("other"));
  start();
  rmSync(at("deny.yaml"));
  wait(8000);
  rmSync(join(dir, "policies"), { recursive: true });
  wait(60_000);
  mkdirSync(join(dir, "policies"));
  wait(20_000);
  put("other.yaml", account("other"));
  wait(8000);
  expect(rules()).toBe(ALL);
  put("deny.yaml", DENY);
  wait(200);
  expect(awaited()).toEqual([]);
  rmSync(at("deny.yaml"));
  rmSync(at("other.yaml"));
  wait(WAIT_MS.empty - 1000);
  expect(names().sort()).toEqual(["deny", "other"]);
  wait(2000);
  expect(names()).toEqual([]);
});

test("a restart in the midst of a save opens nothing", () => {
  put("deny.yaml", DENY);
  put("other.yaml", account("other"));
  start();
  rmSync(at("deny.yaml"));
  start();
  expect(rules()).toBe(ALL);
  put("deny.yaml", DENY.slice(0, DENY.indexOf("    - to:", DENY.indexOf("/admin"))));
  start();
  wait(100);
  expect(rules()).toBe(ALL);
  start();
  expect(rules()).toBe(ALL);
  put("deny.yaml", "");
  start();
  wait(5000);
  expect(rules()).toBe(ALL);
  wait(WAIT_MS.protects);
  expect(names()).toEqual(["other"]);
  start();
  expect(names()).toEqual(["other"]);
});

test("a folder is read once, by whatever links; what begins with a dot is not policy", () => {
  mkdirSync(at("..2026")); // as a ConfigMap is mounted
  put("..2026/a.yaml", account("one"));
  symlinkSync("..2026", at("..data"));
  symlinkSync("..data/a.yaml", at("a.yaml"));
  symlinkSync(".", at("itself"));
  start();
  expect(source!.objects().map((o) => o.source.file)).toEqual([at("a.yaml")]);
  // The kubelet's way of changing it.
  mkdirSync(at("..2027"));
  put("..2027/a.yaml", account("two"));
  symlinkSync("..2027", at("..tmp"));
  renameSync(at("..tmp"), at("..data"));
  rmSync(at("..2026"), { recursive: true });
  wait(100);
  expect(names()).toContain("two");
});

test("pipes, devices, the kernel's files and links that lead nowhere hold nobody up", () => {
  execFileSync("mkfifo", [at("pipe.yaml")]);
  symlinkSync("/dev/zero", at("zero.yaml"));
  symlinkSync("/proc/self/mountinfo", at("kernel.yaml"));
  symlinkSync("loop.yaml", at("loop.yaml"));
  symlinkSync("nowhere", at("nowhere.yaml"));
  put("a.yaml", account("one"));
  start();
  expect(names()).toEqual(["one"]);
  const said = source!.issues().map((i) => `${basename(i.file)}: ${i.message}`);
  expect(said).toEqual([
    "kernel.yaml: the file cannot be read: it is a file of the kernel",
    expect.stringMatching(/^loop\.yaml: the file cannot be read: ELOOP/),
    "nowhere.yaml: the file cannot be read: it is a link that leads nowhere",
    "pipe.yaml: the file cannot be read: it is not a regular file",
    "zero.yaml: the file cannot be read: it is not a regular file",
  ]);
});

test("900 nested folders and node_modules are not walked; what is left out is told", () => {
  mkdirSync(join(dir, "policies", ...Array.from({ length: 900 }, () => "d")), { recursive: true });
  mkdirSync(at("node_modules/x"), { recursive: true });
  put("node_modules/x/a.yaml", account("foreign"));
  put("a.yaml", account("one"));
  start();
  expect(names()).toEqual(["one"]);
  expect(source!.issues().map((i) => i.message)).toEqual([
    "folders that lie deeper than 32 levels are not read: move the policies up",
  ]);
  expect(readFileSync(at("a.yaml"), "utf8")).toBe(account("one"));
});
