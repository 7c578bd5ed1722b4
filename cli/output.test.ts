import { chmodSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { UserError } from "./errors.ts";
import { createOutput, table } from "./output.ts";
import { makeStateDir, stateDir } from "./state-dir.ts";

test("a table has kubectl's form", () => {
  expect(
    table([
      ["NAME", "READY"],
      ["reviews-v1", "yes"],
      ["a", ""],
    ]),
  ).toBe("NAME         READY\nreviews-v1   yes\na            <none>");
});

test("a table fits its width: prose wraps, names lose their end, paths their beginning", () => {
  const wide = [
    ["KIND", "NAME", "SOURCE"],
    ["VirtualService", "a-name-that-is-rather-long", "/home/someone/projects/shop/policies/web.yaml:12"],
  ];
  expect(table(wide, 60)).toBe(
    [
      "KIND             NAME                   SOURCE",
      "VirtualService   a-name-that-is-rath…   …olicies/web.yaml:12",
    ].join("\n"),
  );
  for (const width of [40, 60, 80, 200])
    for (const line of table(wide, width).split("\n")) expect(line.length).toBeLessThanOrEqual(width);
  const prose = table(
    [
      ["WHERE", "WHAT"],
      ["a.yaml:1", "one two three four five six seven"],
    ],
    36,
  );
  expect(prose).toBe("WHERE      WHAT\na.yaml:1   one two three four five\n           six seven");
  expect(table(wide)).toContain("/home/someone/projects/shop/policies/web.yaml:12");
});

test("a terminal that was given no size is as wide as none", () => {
  const shown: string[] = [];
  const terminal = { isTTY: true, columns: 0 } as NodeJS.WriteStream;
  const out = createOutput(
    "table",
    () => {},
    terminal,
    (text) => shown.push(text),
    true,
  );
  out.progress("starting the control plane");
  expect(shown.join("")).toContain("starting the control plane");
  expect(out.columns).toBe(100);
});

test("what others wrote moves no cursor, clears no screen and forges no line", () => {
  expect(table([["NAME"], ["a\x1b[2J\nb\x9b1m"]])).toBe("NAME\na\\x1b[2J\\x0ab\\x9b1m");
  const written: string[] = [];
  const out = createOutput(
    "table",
    (t) => written.push(t),
    process.stdout,
    (t) => written.push(t),
  );
  out.document({}, () => "\x1b[1mbold\x1b[22m \x1b]0;title\x07 \x1b[2J\ttab");
  out.warn("\x1bc");
  expect(written).toEqual(["\x1b[1mbold\x1b[22m \\x1b]0;title\\x07 \\x1b[2J\ttab\n", "\\x1bc\n"]);
});

test("progress rewrites one line of a terminal and never more; piped, each state is a line once", () => {
  const terminal: string[] = [];
  const stream = Object.assign(Object.create(process.stdout), { columns: 20, isTTY: true });
  const shown = createOutput(
    "table",
    () => {},
    stream,
    (t) => terminal.push(t),
    true,
  );
  shown.progress("0 of 7 pods ready; waiting for everything");
  shown.progress("");
  expect(terminal).toEqual(["\r\x1b[2K0 of 7 pods ready; ", "\r\x1b[2K"]);
  const lines: string[] = [];
  const piped = createOutput(
    "table",
    () => {},
    process.stdout,
    (t) => lines.push(t),
  );
  for (const state of ["0 of 1", "0 of 1", "", "done"]) piped.progress(state);
  expect(lines).toEqual(["0 of 1\n", "done\n"]);
});

test("json and yaml are one document without rows", () => {
  const written: string[] = [];
  const out = createOutput("json", (t) => written.push(t), process.stdout);
  out.result({ a: 1 }, () => {
    throw new Error("rows are for people");
  });
  expect(JSON.parse(written.join(""))).toEqual({ a: 1 });
});

test("a string that Kubernetes would read as something else is quoted", () => {
  const written: string[] = [];
  createOutput("yaml", (t) => written.push(t), process.stdout).document(
    { a: ["yes", "1:30", "1_000", "plain"], b: true },
    () => "",
  );
  expect(written.join("")).toBe('a:\n  - "yes"\n  - "1:30"\n  - "1_000"\n  - plain\nb: true\n');
});

test("the state directory follows XDG and refuses bad names and paths too long for sockets", () => {
  expect(stateDir("default", { XDG_STATE_HOME: "/s" })).toBe("/s/weft/default");
  expect(stateDir("m2", { HOME: "/h" })).toBe("/h/.local/state/weft/m2");
  expect(() => stateDir("../etc", {})).toThrow(UserError);
  expect(() => stateDir("default", { XDG_STATE_HOME: `/${"x".repeat(80)}` })).toThrow(/too long/);
});

test("a state directory that cannot be made is one sentence with what to do", () => {
  expect(() => makeStateDir(join(import.meta.filename, "weft"))).toThrow(UserError);
  expect(() => makeStateDir(join(import.meta.filename, "weft"))).toThrow(/ENOTDIR; set XDG_STATE_HOME/);
  expect(() => makeStateDir("/proc/nope/weft/default")).toThrow(/ENOENT; set XDG_STATE_HOME/);
});

test("a state directory that others can reach is refused, and made private where it is new", () => {
  const base = mkdtempSync(join(tmpdir(), "weft-state-"));
  const dir = join(base, "weft", "default");
  makeStateDir(dir);
  expect([dir, dirname(dir)].map((d) => statSync(d).mode & 0o777)).toEqual([0o700, 0o700]);
  for (const [path, mode] of [
    [dir, 0o750],
    [dirname(dir), 0o777],
  ] as const) {
    chmodSync(path, mode);
    expect(() => makeStateDir(dir)).toThrow(/is open to others \(mode (750|777)\).*chmod 700/);
    chmodSync(path, 0o700);
  }
  makeStateDir(dir);
  rmSync(base, { recursive: true });
});
