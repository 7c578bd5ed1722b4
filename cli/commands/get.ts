import { setTimeout as delay } from "node:timers/promises";
import { appliedOffline } from "../applied.ts";
import type { Command, Input } from "../command.ts";
import { EXIT, UserError } from "../errors.ts";
import { SHORT_NAMES, type Wanted, wantedObjects } from "../kind-names.ts";
import { choose, type Filter, fullName, isMade, type Listed, type Listing, listing } from "../listing.ts";
import { objectRows, place } from "../object-tables.ts";
import { yamlText } from "../output.ts";
import { manifestOf } from "../portable.ts";
import { labelSelector } from "../selector.ts";

export const get: Command = {
  name: "get",
  summary:
    "The objects the mesh runs on, and the file and line each comes from; pods and workloads with their state",
  args: [
    { name: "[kind]", help: "as kubectl takes it: pods, vs, po,svc, all, or KIND/NAME", values: "kind" },
    { name: "[name...]", help: "names of objects", values: "object" },
  ],
  options: [
    { flags: "-n, --namespace <name>", help: "only this namespace (default: all)", values: "namespace" },
    { flags: "-A, --all-namespaces", help: "all namespaces, which is the default here" },
    { flags: "-l, --selector <labels>", help: 'only with these labels: app=web, "app in (a, b)", !canary' },
    { flags: "-w, --watch", help: "go on, with a line for each change, until Ctrl-C" },
  ],
  formats: ["wide", "name"],
  examples: [
    "weft get",
    "weft get pods -l app=reviews -w",
    "weft get po,svc -n default -o wide",
    "weft get deploy/reviews-v1 vs/reviews",
    "weft get VirtualService reviews -o yaml",
    "weft get -o yaml | weft apply -f -",
    "weft get applied",
  ],
  notes: `Short names: ${Object.entries(SHORT_NAMES)
    .map(([short, kind]) => `${short} ${kind}`)
    .join(", ")}.
"applied" is what \`weft apply\` brought, also without a running mesh. "all" is what runs: pods, Services and workloads. A kind without objects is an empty table; a name that is
not there, or a kind that there is none of, is exit code 1.`,
  async run(input) {
    const { options, stateDir } = input;
    const words = input.args.flat().filter((word): word is string => typeof word === "string");
    if (words.length === 1 && words[0] === "applied") return applied(input);
    const filter = filterOf(options);
    if (words.length === 0 && options["watch"] !== true) {
      const { objects } = await listing(stateDir);
      return everything(input, choose(objects, kindsOf(objects), filter).found);
    }
    const wanted = words.length === 0 ? null : wantedObjects(words);
    if (options["watch"] === true) return watch(input, wanted, filter);
    const { found, missing } = choose((await listing(stateDir)).objects, wanted ?? [], filter);
    const single = wanted?.length === 1 && wanted[0]?.name != null;
    if (found.length > 0 || missing.length === 0) print(input, found, single);
    if (missing.length === 0) return EXIT.ok;
    throw new UserError(missing.join("\n"));
  },
};

/** What `weft delete` can take back, from the state directory: there without a running mesh, too. */
function applied({ out, stateDir }: Input): number {
  const found = appliedOffline(stateDir);
  out.result({ applied: found }, () => [
    ["KIND", "NAMESPACE", "NAME", "SOURCE", "APPLIED"],
    ...found.map((o) => [o.kind, o.namespace, o.name, `${o.file}:${o.line}`, o.appliedAt]),
  ]);
  return EXIT.ok;
}

function filterOf(options: Input["options"]): Filter {
  const { namespace, selector } = options;
  if (typeof namespace === "string" && options["allNamespaces"] === true)
    throw new UserError("-n and -A: say one of them", EXIT.usage);
  return {
    namespace: typeof namespace === "string" ? namespace : null,
    selector: typeof selector === "string" ? labelSelector(selector) : null,
  };
}

const kindsOf = (objects: readonly Listed[]): Wanted[] =>
  [...new Set(objects.map(({ kind }) => kind))].map((kind) => ({ kind, group: null, name: null }));

/** Without a kind: one table. As a document it is what people wrote, which `weft apply` takes back. */
function everything(input: Input, objects: readonly Listed[]): number {
  const { out, options, cwd } = input;
  const format = options["output"];
  if (format === "name") {
    print(input, objects, false);
    return EXIT.ok;
  }
  const secrets = objects.filter(({ kind }) => kind === "Secret");
  out.result(listOf(objects.filter((o) => !isMade(o) && o.kind !== "Secret")), () => [
    ["KIND", "NAMESPACE", "NAME", "SOURCE"],
    ...objects.map((o) => [o.kind, o.namespace, o.name, place(o, cwd)]),
  ]);
  if (secrets.length > 0 && (format === "json" || format === "yaml")) {
    const names = secrets.map(({ namespace, name }) => `Secret ${namespace}/${name}`);
    out.warn(`left out, because their values are not shown: ${names.join(", ")}`);
  }
  return EXIT.ok;
}

const listOf = (objects: readonly Listed[]): object => ({
  apiVersion: "v1",
  kind: "List",
  metadata: {},
  items: objects.map(manifestOf),
});

function print({ out, options, cwd }: Input, objects: readonly Listed[], single: boolean): void {
  const [one] = objects;
  const document = single && objects.length === 1 && one !== undefined ? manifestOf(one) : listOf(objects);
  if (options["output"] === "name") {
    for (const o of objects) out.line(fullName(o));
    return;
  }
  if (objects.length === 0 && (options["output"] === "table" || options["output"] === "wide")) {
    const { namespace } = options;
    out.warn(`no objects found${typeof namespace === "string" ? ` in namespace ${namespace}` : ""}`);
    return;
  }
  const kinds = [...new Set(objects.map(({ kind }) => kind))];
  const how = {
    wide: options["output"] === "wide",
    named: kinds.length > 1,
    cwd,
    now: Date.now(),
  };
  out.document(document, () =>
    kinds
      .map((kind) =>
        out.table(
          objectRows(
            objects.filter((o) => o.kind === kind),
            how,
          ),
        ),
      )
      .join("\n\n"),
  );
}

const LOOK_EVERY_MS = 500;

/** The table, then a row for each object that is new, changed or gone. As documents: one for each of them. */
async function watch(input: Input, wanted: readonly Wanted[] | null, filter: Filter): Promise<number> {
  const { out, options, cwd, stateDir } = input;
  const stopped = new AbortController();
  const stop = (): void => stopped.abort();
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, stop);
  const format = options["output"];
  let known = new Map<string, string>();
  let headed = "";
  while (!stopped.signal.aborted) {
    const { objects }: Listing = await listing(stateDir);
    const { found, missing } = choose(objects, wanted ?? kindsOf(objects), filter);
    if (missing.length > 0 && known.size === 0) throw new UserError(missing.join("\n"));
    const now = new Map<string, string>();
    for (const o of found) {
      const id = `${o.kind} ${o.namespace}/${o.name}`;
      const [heads = [], row = []] = objectRows([o], { wide: format === "wide", named: true, cwd, now: 0 });
      const said = format === "json" || format === "yaml" ? JSON.stringify(manifestOf(o)) : row.join("\t");
      now.set(id, said);
      if (known.get(id) === said) continue;
      if (format === "json") out.line(said);
      else if (format === "yaml") out.line(`---\n${yamlText(manifestOf(o)).trimEnd()}`);
      else if (format === "name") out.line(fullName(o));
      else {
        const [, fresh = []] = objectRows([o], {
          wide: format === "wide",
          named: true,
          cwd,
          now: Date.now(),
        });
        const head = heads.join("\t");
        if (head !== headed) out.line(columns(heads));
        headed = head;
        out.line(columns(fresh));
      }
    }
    for (const id of known.keys()) if (!now.has(id)) out.line(`(gone) ${id}`);
    known = now;
    await delay(LOOK_EVERY_MS, undefined, { signal: stopped.signal }).catch(() => {});
  }
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.off(signal, stop);
  return EXIT.ok;
}

/** Rows come one by one: columns are as wide as is usual. */
const WIDTHS = [12, 28, 8, 14, 10, 8, 16];
const columns = (row: readonly string[]): string =>
  row
    .map((cell, i) => (cell || "<none>").padEnd(WIDTHS[i] ?? 12))
    .join(" ")
    .trimEnd();
