#!/usr/bin/env node
import { text } from "node:stream/consumers";
import { weft } from "./run.ts";

// The reader went away (`weft get pods | head -1`): end as SIGPIPE ends other programs; a mesh in the foreground stops cleanly.
process.stdout.on("error", () => process.kill(process.pid, "SIGTERM"));

process.exitCode = await weft(process.argv.slice(2), {
  stdout: process.stdout,
  env: process.env,
  cwd: process.cwd(),
  writeOut: (chunk) => process.stdout.write(chunk),
  writeErr: (chunk) => process.stderr.write(chunk),
  readStdin: () => text(process.stdin),
  rewrites: process.stderr.isTTY === true,
});
