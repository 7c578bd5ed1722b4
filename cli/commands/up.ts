import { type Platform, PlatformError, startPlatform } from "#local/index.ts";
import type { Command, Input } from "../command.ts";
import { EXIT, UserError } from "../errors.ts";
import { forget } from "../kept-state.ts";
import { makeStateDir } from "../state-dir.ts";
import { startDetached } from "../up/detach.ts";
import { watchObjects } from "../up/objects.ts";
import { readUpOptions, UP_OPTIONS } from "../up/options.ts";
import { reportReady } from "../up/report.ts";
import { grouped } from "../up/warnings.ts";

export const up: Command = {
  name: "up",
  summary: "Run a mesh on this machine: Deployments as processes, each beside its proxy",
  args: [{ name: "<path...>", help: "YAML files or folders", values: "path" }],
  options: UP_OPTIONS,
  examples: [
    "weft up examples/bookinfo",
    "weft up examples/bookinfo --detach -o json   # returns when ready, with all addresses",
    "weft up shop --mesh shop --mode explicit     # a second mesh beside the first",
  ],
  async run(input) {
    const paths = input.args[0] as readonly string[];
    const options = readUpOptions(input, paths);
    makeStateDir(input.stateDir);
    try {
      return input.options["detach"] === true
        ? await detached(input, paths)
        : await attached(input, paths, options);
    } catch (error) {
      if (error instanceof PlatformError) throw new UserError(error.message);
      throw error;
    }
  },
};

async function attached(
  { cwd, out, stateDir, options: given }: Input,
  paths: readonly string[],
  options: ReturnType<typeof readUpOptions>,
): Promise<number> {
  const signalled = Promise.withResolvers<void>();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
    process.once(signal, () => signalled.resolve());
  let platform: Platform | null = null;
  let told: readonly string[] = [];
  let stopping = false;
  const said = (lines: readonly string[]): string[] =>
    grouped(lines, cwd, `npx weft validate ${paths.join(" ")}`);
  const tell = (): void => {
    const problems = objects.problems();
    const fresh = problems.filter((line) => !told.includes(line));
    if (fresh.length > 0)
      out.warn([...said(fresh), ...(objects.errors().length > 0 ? [LAST_GOOD] : [])].join("\n"));
    else if (problems.length === 0 && told.length > 0) out.warn("(the files have no problem any more)");
    told = problems;
  };
  const objects = watchObjects(paths, cwd, stateDir, () => {
    tell();
    platform
      ?.update(objects.read())
      .catch((error: Error) => out.warn(`${error.message}\n(nothing is changed)`));
  });
  tell();
  const crashes = new Set<string>();
  try {
    out.progress("starting the control plane");
    platform = await startPlatform({
      ...options,
      objects: objects.read(),
      onChange: () => {
        if (stopping) return;
        progress(platform, out);
        tellCrashes(platform, crashes, String(given["mesh"]), out);
        tellTroubles(platform, crashes, out);
      },
    });
    progress(platform, out);
    const ended = await Promise.race([platform.whenReady(), signalled.promise.then(() => "signalled")]);
    out.progress("");
    if (ended === undefined) {
      const status = platform.status();
      out.document(status, () =>
        [reportReady(status, objects, paths, String(given["mesh"]), out), "Ctrl-C stops everything."].join(
          "\n",
        ),
      );
    } else return EXIT.interrupted;
    const lost = await Promise.race([signalled.promise, platform.lost]);
    if (typeof lost === "string") throw new PlatformError(`${lost}: the mesh is stopped; start it again`);
  } finally {
    stopping = true;
    objects.close();
    if (platform !== null) out.progress("stopping");
    await platform?.stop();
    // Not where another mesh runs, which is why this one could not start.
    if (platform !== null) forget(stateDir);
    out.progress("");
  }
  return EXIT.ok;
}

const LAST_GOOD = "(the last good version goes on)";
/** One restart may be bad luck; at the second the process has a reason to say. */
const CRASHES = 2;

/** Names each container that does not stay up or runs otherwise than was meant, once. */
function tellCrashes(platform: Platform | null, told: Set<string>, mesh: string, out: Input["out"]): void {
  for (const pod of platform?.status().pods ?? []) {
    for (const note of pod.notes) {
      const key = `${pod.namespace}/${pod.name}: ${note}`;
      if (told.has(key)) continue;
      told.add(key);
      out.warn(`${pod.name}: ${note}`);
    }
    for (const { name, restarts, lastExit } of pod.containers) {
      const key = `${pod.namespace}/${pod.name}/${name}`;
      if (restarts < CRASHES || told.has(key)) continue;
      told.add(key);
      const flags = `${name === "istio-proxy" ? " -c istio-proxy" : ""}${mesh === "default" ? "" : ` --mesh ${mesh}`}`;
      out.warn(
        `${pod.name}: ${name} does not stay up (${lastExit ?? "it ended"}): npx weft logs ${pod.name}${flags} --tail 20`,
      );
    }
  }
}

/** Each once: a rollout that does not progress, a Job that failed. */
function tellTroubles(platform: Platform | null, told: Set<string>, out: Input["out"]): void {
  for (const { trouble } of platform?.status().workloads ?? []) {
    if (trouble === "" || told.has(trouble)) continue;
    told.add(trouble);
    out.warn(trouble);
  }
}

function progress(platform: Platform | null, out: Input["out"]): void {
  if (platform === null) return;
  const { pods } = platform.status();
  const waiting = pods.filter(({ ready, podIp }) => !ready && podIp !== "").map(({ workload }) => workload);
  const names = [...new Set(waiting)];
  const more = names.length > WAITING ? ` and ${names.length - WAITING} more` : "";
  out.progress(
    waiting.length === 0
      ? ""
      : `${pods.length - waiting.length} of ${pods.length} pods ready; waiting for ${names.slice(0, WAITING).join(", ")}${more}`,
  );
}

/** So many names fit a line. */
const WAITING = 2;

async function detached(
  { cwd, env, out, stateDir, argv, options }: Input,
  paths: readonly string[],
): Promise<number> {
  const args = argv.slice(1).filter((word) => word !== "--detach" && word !== "-d");
  const { status, logFile } = await startDetached(withoutOutput(args), stateDir, cwd, env);
  const objects = watchObjects(paths, cwd, stateDir, () => {});
  objects.close();
  const problems = grouped(objects.problems(), cwd, `npx weft validate ${paths.join(" ")}`);
  if (problems.length > 0) out.warn(problems.join("\n"));
  const mesh = String(options["mesh"]);
  out.document(status, () =>
    [
      reportReady(status, objects, paths, mesh, out),
      `It goes on without this terminal (log: ${logFile}); \`npx weft down${mesh === "default" ? "" : ` --mesh ${mesh}`}\` stops it.`,
    ].join("\n"),
  );
  return EXIT.ok;
}

/** The child always speaks JSON to its parent. */
function withoutOutput(args: readonly string[]): string[] {
  return args.filter(
    (word, i) => !/^(-o.*|--output(=.*)?)$/.test(word) && !/^(-o|--output)$/.test(args[i - 1] ?? ""),
  );
}
