import type { Output } from "./output.ts";

/** A command as data: the parser, the help and the docs come from this table. */
export interface Command {
  readonly name: string;
  readonly summary: string;
  /** Positional arguments in commander's spelling: `<name>`, `[name]`, `[name...]`. */
  readonly args: readonly { readonly name: string; readonly help: string; readonly values?: Values }[];
  readonly options: readonly {
    readonly flags: string;
    readonly help: string;
    readonly default?: string;
    readonly values?: Values;
  }[];
  /** What `-o` takes besides table, json and yaml. */
  readonly formats?: readonly ("wide" | "name")[];
  /** Complete command lines, shown at the end of `--help`. */
  readonly examples: readonly string[];
  /** What the options do not say; after them in `--help`. */
  readonly notes?: string;
  run(input: Input): Promise<number>;
}

/** What can stand there, for shell completion: the words themselves, or names that the running mesh has. */
export type Values =
  | readonly string[]
  | "path"
  | "workload"
  | "pod"
  | "kind"
  | "object"
  | "namespace"
  | "mesh"
  | "service"
  | "trace";

export interface Input {
  /** In the order of `args`; a variadic one is an array. */
  readonly args: readonly (string | readonly string[] | undefined)[];
  readonly options: Readonly<Record<string, string | boolean | readonly string[] | undefined>>;
  readonly out: Output;
  /** The whole command line, without node and script. */
  readonly argv: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  readonly cwd: string;
  /** The state directory of the mesh chosen by `--mesh`. */
  readonly stateDir: string;
  readonly readStdin: () => Promise<string>;
}
