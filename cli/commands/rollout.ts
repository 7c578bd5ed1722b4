import { setTimeout as delay } from "node:timers/promises";
import type { Done, RolloutHistory, WorkloadStatus } from "#local/contract.ts";
import type { AdminClient } from "../admin-client.ts";
import type { Command, Input } from "../command.ts";
import { EXIT, UserError } from "../errors.ts";
import { wantedObjects } from "../kind-names.ts";
import { yamlText } from "../output.ts";
import { platformClient, platformStatus } from "../platform-client.ts";

const VERBS = ["status", "history", "pause", "resume", "undo", "restart"] as const;
type Verb = (typeof VERBS)[number];

const NAMESPACE = { flags: "-n, --namespace <name>", help: "its namespace", values: "namespace" } as const;
const WORKLOAD = {
  name: "<workload...>",
  help: "deployment/NAME, KIND NAME, or a NAME that only one has",
  values: "workload",
} as const;

export const rollout: Command = {
  name: "rollout",
  summary: "How far a workload's update is, its history, and the way back",
  args: [{ name: "<verb>", help: VERBS.join(", "), values: VERBS }, WORKLOAD],
  options: [
    NAMESPACE,
    { flags: "--to-revision <number>", help: "undo: to this revision (default: the one before)" },
    { flags: "--revision <number>", help: "history: the pod template of this revision" },
    { flags: "--no-watch", help: "status: say it once instead of waiting" },
    { flags: "--timeout <seconds>", help: "status: how long to wait", default: "600" },
  ],
  examples: [
    "weft rollout status deployment/reviews-v1",
    "weft rollout history deploy/reviews-v1",
    "weft rollout undo deploy/reviews-v1 --to-revision 1",
    "weft rollout pause deploy/reviews-v1",
  ],
  notes:
    "Exit code of status: 0 when it is complete (or goes on, with --no-watch), 1 when it failed or took too long.",
  async run(input) {
    const verb = VERBS.find((one) => one === input.args[0]);
    if (verb === undefined)
      throw new UserError(`rollout ${String(input.args[0])}: one of ${VERBS.join(", ")}`, EXIT.usage);
    const admin = platformClient(input.stateDir);
    const workload = await workloadOf(input, input.args[1] as readonly string[]);
    if (verb === "status") return status(input, admin, workload);
    if (verb === "history") return history(input, admin, workload);
    return operate(input, admin, workload, verb, verb === "undo" ? undoRequest(input) : {});
  },
};

export const restart: Command = {
  name: "restart",
  summary: "New pods for a workload, one after the other; or a new one in the place of a pod",
  args: [{ ...WORKLOAD, name: "<target...>", help: "deployment/NAME, KIND NAME, NAME, or a pod" }],
  options: [NAMESPACE],
  examples: ["weft restart deploy/reviews-v1", "weft restart reviews-v1", "weft restart pod/reviews-v1-0"],
  async run(input) {
    const words = input.args[0] as readonly string[];
    const admin = platformClient(input.stateDir);
    const { pods } = await platformStatus(input.stateDir);
    const [wanted] = words.length === 1 && !words[0]!.includes("/") ? [] : wantedObjects(words);
    const name = wanted === undefined ? words[0]! : wanted.kind === "Pod" ? (wanted.name ?? "") : null;
    const pod = pods.find((p) => p.name === name && inNamespace(input, p.namespace));
    if (pod !== undefined)
      return told(input, await admin.delete<Done>(path("pods", pod.namespace, pod.name)));
    if (wanted?.kind === "Pod") throw new UserError(`pods "${name}" not found`);
    return operate(input, admin, await workloadOf(input, words), "restart", {});
  },
};

export const scale: Command = {
  name: "scale",
  summary: "How many pods a workload has, until its file changes",
  args: [WORKLOAD],
  options: [NAMESPACE, { flags: "--replicas <count>", help: "how many" }],
  examples: ["weft scale deployment/reviews-v1 --replicas 3", "weft scale deploy reviews-v1 --replicas=0"],
  async run(input) {
    const { replicas } = input.options;
    if (typeof replicas !== "string" || !/^\d+$/.test(replicas))
      throw new UserError("say how many: --replicas COUNT, a whole number from 0 up", EXIT.usage);
    const workload = await workloadOf(input, input.args[0] as readonly string[]);
    return operate(input, platformClient(input.stateDir), workload, "scale", { replicas: Number(replicas) });
  },
};

const path = (...parts: string[]): string => `/${parts.map(encodeURIComponent).join("/")}`;
const inNamespace = ({ options }: Input, namespace: string): boolean =>
  typeof options["namespace"] !== "string" || options["namespace"] === namespace;

async function workloadOf(input: Input, words: readonly string[]): Promise<WorkloadStatus> {
  const { workloads } = await platformStatus(input.stateDir);
  const plain = words.length === 1 && !words[0]!.includes("/");
  const wanted = plain ? [{ kind: null, name: words[0]! }] : wantedObjects(words);
  const [first, ...more] = wanted;
  if (first === undefined || first.name === null || more.length > 0)
    throw new UserError("name one workload: deployment/NAME", EXIT.usage);
  const found = workloads.filter(
    (w) =>
      w.name === first.name &&
      (first.kind === null || w.kind === first.kind) &&
      inNamespace(input, w.namespace),
  );
  const [one, another] = found;
  if (one === undefined) {
    const known = workloads.map((w) => `${w.kind.toLowerCase()}/${w.name}`);
    throw new UserError(
      `no workload ${words.join(" ")}; there ${known.length === 0 ? "are none" : `are ${known.join(", ")}`}`,
    );
  }
  if (another !== undefined)
    throw new UserError(
      `${words.join(" ")} can be ${found.map((w) => `${w.kind.toLowerCase()}/${w.name} in ${w.namespace}`).join(", ")}: say which, with KIND/NAME or -n`,
    );
  return one;
}

const urlOf = ({ kind, namespace, name }: WorkloadStatus, ...rest: string[]): string =>
  path("workloads", kind, namespace, name, ...rest);

async function operate(
  input: Input,
  admin: AdminClient,
  workload: WorkloadStatus,
  verb: Verb | "scale",
  body: object,
): Promise<number> {
  return told(input, await admin.post<Done>(urlOf(workload, verb), body));
}

function told({ out }: Input, done: Done): number {
  out.document(done, () => [done.message, ...(done.note === "" ? [] : [done.note])].join("\n"));
  return EXIT.ok;
}

function undoRequest({ options }: Input): object {
  const { toRevision } = options;
  if (toRevision === undefined) return {};
  if (!/^\d+$/.test(String(toRevision)))
    throw new UserError(
      `--to-revision: ${String(toRevision)} is no revision: weft rollout history lists them`,
      EXIT.usage,
    );
  return { toRevision: Number(toRevision) };
}

const LOOK_EVERY_MS = 200;

async function status(
  { options, out }: Input,
  admin: AdminClient,
  workload: WorkloadStatus,
): Promise<number> {
  const seconds = Number(options["timeout"]);
  if (!(seconds > 0))
    throw new UserError(`--timeout: ${String(options["timeout"])} is no number of seconds`, EXIT.usage);
  const deadline = performance.now() + seconds * 1000;
  let said = "";
  for (;;) {
    const now = await admin.get<WorkloadStatus>(urlOf(workload));
    const { rollout: state } = now;
    if (state === undefined)
      throw new UserError(
        `a ${workload.kind} has no rollout: weft describe ${workload.kind}/${workload.name} says how it stands`,
      );
    const over = state.state === "complete" || state.state === "failed" || options["watch"] === false;
    if (options["output"] !== "table") {
      if (over) out.document(now, () => "");
    } else if (state.message !== said) out.line(state.message);
    said = state.message;
    if (over) return state.state === "failed" ? EXIT.failure : EXIT.ok;
    if (performance.now() > deadline) throw new UserError(`timed out after ${seconds} s: ${state.message}`);
    await delay(LOOK_EVERY_MS);
  }
}

async function history(
  { options, out }: Input,
  admin: AdminClient,
  workload: WorkloadStatus,
): Promise<number> {
  const answer = await admin.get<RolloutHistory>(urlOf(workload, "history"));
  const { revision } = options;
  if (revision !== undefined) {
    const one = answer.revisions.find((r) => String(r.revision) === revision);
    if (one === undefined)
      throw new UserError(
        `no revision ${String(revision)}; kept are ${answer.revisions.map((r) => r.revision).join(", ")}`,
      );
    out.document(one, () => yamlText(one.template).trimEnd());
    return EXIT.ok;
  }
  out.result(answer, () => [
    ["REVISION", "CREATED", "CURRENT", "CHANGE-CAUSE"],
    ...answer.revisions.map((r) => [String(r.revision), r.created, r.current ? "yes" : "", r.changeCause]),
  ]);
  return EXIT.ok;
}
