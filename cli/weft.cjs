#!/usr/bin/env node
// What `npx weft` runs. Plain old JavaScript that needs nothing: in a fresh checkout, and on any Node, it says in one
// sentence what to do. The mesh runs on the Node that `npm ci` brought; npx finds it by itself, a shell may not.
const { spawn } = require("child_process");
const { existsSync, realpathSync } = require("fs");
const { join } = require("path");
const { pathToFileURL } = require("url");

const OLDEST = 20;
const root = join(__dirname, "..");
const main = join(__dirname, "main.ts");
const pinned = join(root, "node_modules/node/bin/node");

function refuse(sentence) {
  process.stderr.write(`error: ${sentence}\n`);
  process.exitCode = 1;
}

function start() {
  if (realpathSync(process.execPath) === realpathSync(pinned))
    return import(pathToFileURL(main).href).catch((error) => {
      if (error.code !== "ERR_MODULE_NOT_FOUND") throw error;
      // As after `git pull`: the source is newer than what is installed.
      refuse(`a part of weft is not installed: run npm ci in ${root}, then this again`);
    });
  const child = spawn(pinned, [__filename, ...process.argv.slice(2)], { stdio: "inherit" });
  // Ctrl-C reaches both; the child decides when it has stopped. What was sent to this process alone is passed on.
  process.on("SIGINT", () => {});
  for (const signal of ["SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
  child.on("exit", (code, signal) => {
    process.exitCode = code === null ? 128 + require("os").constants.signals[signal] : code;
  });
  child.on("error", (error) => refuse(`${pinned} cannot be started (${error.code}): run npm ci in ${root}`));
}

if (Number(process.versions.node.split(".")[0]) < OLDEST)
  refuse(
    `weft needs Node ${OLDEST} or newer with npm, this is ${process.version}: install one, then run npm ci in ${root}`,
  );
else if (!existsSync(join(root, "node_modules/commander")) || !existsSync(pinned))
  refuse(`weft is not installed yet: run npm ci in ${root}, then this again`);
else void start();
