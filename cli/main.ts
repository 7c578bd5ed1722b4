#!/usr/bin/env node
import { enableCompileCache } from "node:module";
import { text } from "node:stream/consumers";
import { COMPILE_CACHE } from "#lib/compile-cache.ts";
import { refuseInspector } from "#lib/no-inspector.ts";

enableCompileCache(COMPILE_CACHE);
refuseInspector();
const { weft } = await import("./run.ts"); // after the cache is there

// The reader went away (`weft get pods | head -1`): end as SIGPIPE ends other programs; a mesh in the foreground stops cleanly.
process.stdout.on("error", () => process.kill(process.pid, "SIGTERM"));
process.stderr.on("error", () => process.kill(process.pid, "SIGTERM"));

process.exitCode = await weft(process.argv.slice(2), {
  stdout: process.stdout,
  env: process.env,
  cwd: process.cwd(),
  writeOut: (chunk) => process.stdout.write(chunk),
  writeErr: (chunk) => process.stderr.write(chunk),
  readStdin: () => text(process.stdin),
  rewrites: process.stderr.isTTY === true,
});
