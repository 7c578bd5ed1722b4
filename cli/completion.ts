/** Shell completion: what can stand at the cursor, from the table of commands and the mesh that runs. */
import { readdirSync } from "node:fs";
import { dirname } from "node:path";
import { RootCommand, script, type Command as TabCommand } from "@bomb.sh/tab";
import type { ObjectsAnswer, TracesAnswer, WorkloadsAnswer } from "#control-plane/admin/contract.ts";
import { AdminClient } from "./admin-client.ts";
import type { Command, Values } from "./command.ts";
import { KIND_NAMES, kindOf, SHORT_NAMES } from "./kind-names.ts";
import { stateDir } from "./state-dir.ts";

export const SHELLS = ["bash", "zsh", "fish", "powershell"] as const;

/** Options that every command has. */
const COMMON: Command["options"] = [
  { flags: "--mesh <name>", help: "which mesh of this machine", values: "mesh" },
  { flags: "-h, --help", help: "how it is used" },
];

type Word = readonly [word: string, help: string];

/** The script for a shell, to be sourced by it. */
export function completionScript(shell: string): string {
  return captured(() => script(shell, "weft", "weft"));
}

/** Answers a script: the words before the cursor, the one at it last; lines of "word TAB help", then the directive. */
export async function complete(
  commands: readonly Command[],
  words: readonly string[],
  env: NodeJS.ProcessEnv,
): Promise<string> {
  const command = commands.find(({ name }) => name === words[0]);
  const known = new Map<Values, readonly Word[]>();
  const formats = {
    flags: "-o, --output <format>",
    help: "how it is printed",
    values: ["table", "json", "yaml", ...(command?.formats ?? [])],
  };
  const common = [formats, ...COMMON];
  const ask = [...(command?.args ?? []), ...(command?.options ?? []), ...common];
  const values = new Set(ask.flatMap((one) => (one.values === undefined ? [] : [one.values])));
  await Promise.all(
    [...values].map(async (v) => known.set(v, await wordsFor(v, words, env).catch(() => []))),
  );
  // The shell knows files best; the package always forbids it to look.
  let files = false;
  const offer = (v: Values | undefined) => (put: (word: string, help: string) => void) => {
    if (v === "path") files = true;
    for (const [word, help] of known.get(v ?? []) ?? []) put(word, help);
  };
  const root = new RootCommand();
  for (const { name, summary, args, options } of commands) {
    const tab = root.command(name, summary);
    // Of the others only the name: the package takes an option of any command for one of this.
    if (name !== words[0]) continue;
    for (const arg of args) tab.argument(arg.name, offer(arg.values), arg.name.includes("..."));
    for (const option of [...options, ...common]) addOption(tab, option, offer(option.values));
  }
  const text = captured(() => root.parse([...words]));
  return files ? text.replace(/:\d+\n$/, ":0\n") : text;
}

function addOption(
  tab: TabCommand,
  { flags, help }: Command["options"][number],
  offer: (put: (word: string, help: string) => void) => void,
): void {
  const [, short, long = ""] = /^(?:-(\w), )?--([\w-]+)/.exec(flags) ?? [];
  if (flags.includes("<")) tab.option(long, help, offer, short);
  else if (short === undefined) tab.option(long, help);
  else tab.option(long, help, short);
}

async function wordsFor(values: Values, words: readonly string[], env: NodeJS.ProcessEnv): Promise<Word[]> {
  if (typeof values !== "string") return values.map((word) => [word, ""]);
  if (values === "path") return [];
  if (values === "kind")
    return [...KIND_NAMES.map((kind): Word => [kind, ""]), ...Object.entries(SHORT_NAMES)];
  const mesh = meshOf(words);
  const dir = stateDir(mesh, env);
  if (values === "mesh") return readdirSync(dirname(dir)).map((name) => [name, ""]);
  const admin = AdminClient.controlPlane(dir);
  switch (values) {
    case "object":
    case "namespace": {
      const typed = kindOf((words[1] ?? "").split(/[.,]/)[0] ?? "");
      const kind = values === "object" ? `?kind=${encodeURIComponent(typed)}` : "";
      const { objects } = await admin.get<ObjectsAnswer>(`/objects${kind}`);
      const names = objects.map((o) => (values === "object" ? o.name : o.namespace)).filter(Boolean);
      return [...new Set(names)].map((name) => [name, ""]);
    }
    case "trace": {
      const { traces } = await admin.get<TracesAnswer>("/traces?limit=20");
      return traces.map((t) => [t.traceId.slice(0, 12), t.root]);
    }
  }
  const { workloads } = await admin.get<WorkloadsAnswer>("/workloads");
  if (values === "service")
    return [...new Set(workloads.map((w) => `${w.labels["app"] ?? w.workload}.${w.namespace}`))].map((w) => [
      w,
      "",
    ]);
  const owners = [...new Set(workloads.map((w) => w.workload))].map((name): Word => [name, "workload"]);
  const gateway: Word[] = workloads.some((w) => w.kind === "gateway") ? [["gateway", "the gateway"]] : [];
  const pods = workloads.map((w): Word => [w.pod, w.ip]);
  return values === "pod"
    ? [...pods, ["control-plane", ""], ["supervisor", ""]]
    : [...owners, ...gateway, ...pods];
}

function meshOf(words: readonly string[]): string {
  const at = words.findIndex((word) => word === "--mesh" || word.startsWith("--mesh="));
  if (at === -1) return "default";
  return words[at]!.slice("--mesh=".length) || words[at + 1] || "default";
}

/** The package writes to the console only; it does so at once. */
function captured(run: () => void): string {
  let text = "";
  const { log } = console;
  console.log = (line: unknown) => {
    text += `${String(line)}\n`;
  };
  try {
    run();
  } finally {
    console.log = log;
  }
  return text;
}
