import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { expect, test } from "vitest";

test("a reader that went away ends the program without a word", async () => {
  const weft = spawn(process.execPath, [join(import.meta.dirname, "main.ts"), "--help"]);
  weft.stdout.destroy();
  const [error, [code, signal]] = await Promise.all([text(weft.stderr), once(weft, "close")]);
  expect({ error, code, signal }).toEqual({ error: "", code: null, signal: "SIGTERM" });
});
