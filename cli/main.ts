#!/usr/bin/env node
import { text } from "node:stream/consumers";
import { weft } from "./run.ts";

process.exitCode = await weft(process.argv.slice(2), {
  stdout: process.stdout,
  env: process.env,
  cwd: process.cwd(),
  writeOut: (chunk) => process.stdout.write(chunk),
  writeErr: (chunk) => process.stderr.write(chunk),
  readStdin: () => text(process.stdin),
  rewrites: process.stderr.isTTY === true,
});
