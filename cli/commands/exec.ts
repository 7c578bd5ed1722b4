import { spawn } from "node:child_process";
import { constants } from "node:os";
import type { Command } from "../command.ts";
import { UserError } from "../errors.ts";
import { containerOf, insideOf } from "../pod-process.ts";
import { targetOf } from "../target.ts";

/** As a shell: the program is not there, or is none. */
const NOT_FOUND = 127;
const NOT_EXECUTABLE = 126;

export const exec: Command = {
  name: "exec",
  summary: "Run a program in a pod: its network, names, environment and folder",
  args: [
    {
      name: "<pod>",
      help: "a pod, a workload, deploy/NAME or svc/NAME (of several pods one speaks)",
      values: "pod",
    },
    { name: "<command...>", help: "after --, the program and its arguments" },
  ],
  options: [
    { flags: "-c, --container <name>", help: "which container (default: the first of the application)" },
    { flags: "-n, --namespace <name>", help: "its namespace", values: "namespace" },
    { flags: "-i, --stdin", help: "as kubectl takes it; standard input is always passed on" },
    { flags: "-t, --tty", help: "as kubectl takes it; a terminal is always passed on" },
  ],
  examples: [
    "weft exec productpage-v1-0 -- curl -s http://reviews:9080/reviews/0",
    "weft exec deploy/reviews-v1 -- env",
    "weft exec details-v1-0 -c istio-proxy -- sh",
  ],
  notes:
    "Exit code: that of the program; 126 or 127 where it cannot be started, 128 and the signal's number where one ended it.",
  async run({ args, options, stateDir }) {
    const { namespace } = options;
    const { pods } = await targetOf(
      stateDir,
      String(args[0]),
      typeof namespace === "string" ? namespace : null,
    );
    const [pod] = pods;
    const { command, env, cwd } = insideOf(pod, containerOf(pod, options["container"]), args[1] as string[]);
    const [file = "", ...rest] = command;
    // Ctrl-C reaches both by the terminal; the program decides, and this one says how it ended.
    const ignore = (): void => {};
    process.on("SIGINT", ignore);
    const child = spawn(file, rest, { env, cwd, stdio: "inherit" });
    const pass = (signal: NodeJS.Signals): void => void child.kill(signal);
    for (const signal of ["SIGTERM", "SIGHUP"] as const) process.on(signal, pass);
    try {
      return await new Promise<number>((done, fail) => {
        child.once("error", (error: NodeJS.ErrnoException) =>
          fail(
            new UserError(
              `${file} cannot be started in ${pod.name}: ${error.code === "ENOENT" ? "there is no such program" : error.code}`,
              error.code === "ENOENT" ? NOT_FOUND : NOT_EXECUTABLE,
            ),
          ),
        );
        child.once("exit", (code, signal) => done(code ?? 128 + constants.signals[signal!]));
      });
    } finally {
      process.off("SIGINT", ignore);
      for (const signal of ["SIGTERM", "SIGHUP"] as const) process.off(signal, pass);
    }
  },
};
