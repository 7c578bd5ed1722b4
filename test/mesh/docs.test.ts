/**
 * The pages under docs/ are run as a reader would: files are written, each command after "$ " is run by a shell in an empty
 * folder, and what the page shows of its output must come. "..." stands for anything.
 */
import { spawn } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";

const root = join(import.meta.dirname, "../..");
const docs = join(root, "docs");
/** Of the pages; a free one is taken instead. */
const PORT = "8090";

interface Step {
  readonly command: string;
  /** Lines that the page shows; empty: it does not matter. */
  readonly shown: readonly string[];
  /** From a last line "# exit code N"; else 0. */
  readonly exit: number;
}
type Part = { readonly file: string; readonly text: string } | Step;

/** Files (a fenced block whose first line is a comment with a path) and commands, in their order. */
function partsOf(page: string): Part[] {
  const parts: Part[] = [];
  for (const [, language, body = ""] of page.matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)) {
    if (language === "console") parts.push(...stepsOf(body));
    const [, file] = /^(?:#|\/\/) (\S+\/\S+)\n/.exec(body) ?? [];
    if (language !== "console" && file !== undefined) parts.push({ file, text: body });
  }
  return parts;
}

function stepsOf(body: string): Step[] {
  return body
    .split(/^\$ /m)
    .slice(1)
    .map((text) => {
      const [command = "", ...shown] = text.trimEnd().split("\n");
      const [, exit] = /^# exit code (\d+)$/.exec(shown.at(-1) ?? "") ?? [];
      return { command, shown: exit === undefined ? shown : shown.slice(0, -1), exit: Number(exit ?? 0) };
    });
}

/** The shown lines come in this order, with anything between where "..." stands alone. */
function pattern(shown: readonly string[]): RegExp {
  const lines = shown
    .filter((line) => line !== "...")
    .map((line) =>
      line
        .replace(/[\\^$*+?.()|[\]{}]/g, "\\$&")
        .replace(/ *\\\.\\\.\\\. */g, ".*")
        .replace(/ +/g, " +"),
    );
  return new RegExp(lines.join("[\\s\\S]*?"));
}

let home: string;
let port: string;
beforeEach(async () => {
  home = mkdtempSync(join(tmpdir(), "wd-"));
  const probe = createServer();
  await new Promise<void>((done) => probe.listen(0, "127.0.0.1", done));
  port = String((probe.address() as AddressInfo).port);
  await new Promise((done) => probe.close(done));
  const bin = join(home, "bin");
  mkdirSync(bin);
  // As npx finds it after `npm ci`.
  writeFileSync(
    join(bin, "npx"),
    `#!/bin/sh\nshift\nexec "${process.execPath}" "${root}/cli/main.ts" "$@"\n`,
  );
  chmodSync(join(bin, "npx"), 0o755);
});
afterEach(async () => {
  await shell("npx weft down --purge");
  rmSync(home, { recursive: true, force: true });
});

function shell(command: string): Promise<{ code: number | null; out: string }> {
  const child = spawn("sh", ["-c", command], {
    cwd: home,
    env: {
      ...process.env,
      XDG_STATE_HOME: join(home, "s"),
      PATH: `${join(home, "bin")}:${process.env["PATH"]}`,
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let out = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (piece) => (out += piece));
  return new Promise((done) => child.once("close", (code) => done({ code, out })));
}

const pages = readdirSync(docs).filter(
  (file) => file.endsWith(".md") && /^```console$/m.test(readFileSync(join(docs, file), "utf8")),
);

describe("every command of a page does what the page says", () => {
  test.each(pages)("docs/%s", { timeout: 240_000 }, async (file) => {
    for (const part of partsOf(readFileSync(join(docs, file), "utf8"))) {
      if ("file" in part) {
        mkdirSync(dirname(join(home, part.file)), { recursive: true });
        writeFileSync(join(home, part.file), part.text.replaceAll(PORT, port));
        continue;
      }
      // A policy needs a moment until every proxy has it; a reader types slower than this.
      await expect
        .poll(
          async () => {
            const { code, out } = await shell(part.command.replaceAll(PORT, port));
            return code === part.exit && pattern(part.shown).test(out.replaceAll(port, PORT))
              ? ""
              : `exit ${code}: ${out}`;
          },
          { timeout: 20_000, message: `$ ${part.command}\n${part.shown.join("\n")}` },
        )
        .toBe("");
    }
  });
});

test("a page that shows something else than what comes is told", () => {
  expect(pattern(["stopped", "removed ..."]).test("stopped\nremoved /x\n")).toBe(true);
  expect(pattern(["removed ...", "stopped"]).test("stopped\nremoved /x\n")).toBe(false);
  expect(pattern(["200: 12"]).test("200: 10\n")).toBe(false);
});
