import { CommanderError, Option, Command as Parser } from "commander";
import type { Command, Input } from "./command.ts";
import { commands, GROUPS } from "./commands/index.ts";
import { VERSION } from "./commands/version.ts";
import { complete } from "./completion.ts";
import { EXIT, systemError, UserError } from "./errors.ts";
import { createOutput, type Format } from "./output.ts";
import { stateDir } from "./state-dir.ts";
import { hang, harmless } from "./text.ts";

export interface Terminal {
  readonly stdout: NodeJS.WriteStream;
  readonly env: NodeJS.ProcessEnv;
  readonly cwd: string;
  writeOut(text: string): void;
  writeErr(text: string): void;
  readStdin(): Promise<string>;
  /** Standard error is a terminal, where a line can be written again. */
  readonly rewrites?: boolean;
}

const FIRST_STEPS = `
First steps:
  $ weft up examples/bookinfo
  $ weft status
  $ weft explain GET http://127.0.0.1:8080/productpage
  $ weft trace --last

Exit codes: 0 done, 1 it failed or what was asked is not so, 2 wrong usage, 130 interrupted; exec has the program's.
NO_COLOR and FORCE_COLOR are honoured.`;

const NOTES_WIDTH = 80;

/** Runs one command line (without `node` and the script) and returns its exit code; never throws, never exits. */
export async function weft(argv: readonly string[], terminal: Terminal): Promise<number> {
  // What the completion scripts call; never an error, or it would appear at the prompt.
  if (argv[0] === "complete" && argv[1] === "--") {
    terminal.writeOut(await complete(commands, argv.slice(2), terminal.env));
    return EXIT.ok;
  }
  let code: number = EXIT.ok;
  const parser = new Parser("weft")
    .description("A service mesh on this machine: secure, split and see the traffic between services.")
    .version(VERSION)
    .exitOverride()
    .showHelpAfterError("(--help shows how it is used)")
    .addHelpText("after", FIRST_STEPS)
    .configureOutput({ writeOut: terminal.writeOut, writeErr: terminal.writeErr });
  for (const [group, members] of Object.entries(GROUPS)) {
    parser.commandsGroup(group);
    for (const command of members) add(parser, command, argv, terminal, (result) => (code = result));
  }
  parser.helpCommand("help [command]", "How a command is used, with examples");
  try {
    await parser.parseAsync([...argv], { from: "user" });
    return code;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    if (error instanceof UserError) {
      terminal.writeErr(`error: ${harmless(error.message)}\n`);
      return error.exitCode;
    }
    const system = systemError(error);
    if (system !== null && !terminal.env["WEFT_DEBUG"]) {
      terminal.writeErr(`error: ${harmless(system)}\n`);
      return EXIT.failure;
    }
    const detail =
      error instanceof Error ? (terminal.env["WEFT_DEBUG"] ? error.stack : error.message) : String(error);
    terminal.writeErr(`error: unexpected: ${detail} (a bug in weft; WEFT_DEBUG=1 shows where)\n`);
    return EXIT.failure;
  }
}

function add(
  parser: Parser,
  command: Command,
  argv: readonly string[],
  terminal: Terminal,
  done: (code: number) => number,
): void {
  const sub = parser.command(command.name).description(command.summary);
  for (const arg of command.args) sub.argument(arg.name, arg.help);
  for (const option of command.options) sub.option(option.flags, option.help, option.default);
  sub.addOption(
    new Option("-o, --output <format>", "how it is printed")
      .choices(["table", "json", "yaml", ...(command.formats ?? [])])
      .default("table"),
  );
  sub.option("--mesh <name>", "which mesh of this machine", "default");
  if (command.notes !== undefined) {
    const lines = command.notes.split("\n").map((line) => hang(line, NOTES_WIDTH, 0));
    sub.addHelpText("after", `\n${lines.join("\n")}`);
  }
  if (command.examples.length > 0) {
    sub.addHelpText("after", `\nExamples:\n${command.examples.map((line) => `  $ ${line}`).join("\n")}`);
  }
  sub.exitOverride().action(async (...received: unknown[]) => {
    const options = sub.opts<Input["options"]>();
    const input: Input = {
      args: received.slice(0, command.args.length) as Input["args"],
      options,
      out: createOutput(
        options["output"] as Format,
        terminal.writeOut,
        terminal.stdout,
        terminal.writeErr,
        terminal.rewrites === true,
      ),
      argv,
      env: terminal.env,
      cwd: terminal.cwd,
      stateDir: stateDir(String(options["mesh"]), terminal.env),
      readStdin: terminal.readStdin,
    };
    done(await command.run(input));
  });
}
