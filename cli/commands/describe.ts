import type { Command } from "../command.ts";
import { factsOf } from "../describe/facts.ts";
import { type Section, sectionsOf } from "../describe/sections.ts";
import { EXIT, UserError } from "../errors.ts";
import { wantedObjects } from "../kind-names.ts";
import { choose } from "../listing.ts";
import type { Output } from "../output.ts";
import { manifestOf } from "../portable.ts";
import { labelSelector } from "../selector.ts";

export const describe: Command = {
  name: "describe",
  summary: "An object, what it means to the mesh, whom it concerns, and what is wrong with it",
  args: [
    { name: "<kind>", help: "a kind, or KIND/NAME", values: "kind" },
    { name: "[name...]", help: "names; without one, all of the kind", values: "object" },
  ],
  options: [
    { flags: "-n, --namespace <name>", help: "only this namespace (default: all)", values: "namespace" },
    { flags: "-l, --selector <labels>", help: "only with these labels" },
  ],
  examples: [
    "weft describe pod productpage-v1-0",
    "weft describe svc/reviews",
    "weft describe deploy -l app=reviews",
  ],
  async run({ args, options, out, stateDir, cwd }) {
    const words = args.flat().filter((word): word is string => typeof word === "string");
    const { namespace, selector } = options;
    const facts = await factsOf(stateDir, cwd);
    const { found, missing } = choose(facts.objects, wantedObjects(words), {
      namespace: typeof namespace === "string" ? namespace : null,
      selector: typeof selector === "string" ? labelSelector(selector) : null,
    });
    const described = found.map((o) => ({
      object: o,
      sections: sectionsOf(o, facts).filter(([, lines]) => lines.length > 0),
    }));
    if (found.length === 0 && missing.length === 0) out.warn("no objects found");
    else if (found.length > 0)
      out.document(
        described.map(({ object, sections }) => ({
          object: manifestOf(object),
          ...Object.fromEntries(sections.slice(1).map(([title, content]) => [title, forPrograms(content)])),
        })),
        () =>
          described
            .map(({ sections }) => sections.map((section) => forPeople(section, out)).join("\n"))
            .join("\n\n"),
      );
    if (missing.length > 0) throw new UserError(missing.join("\n"));
    return EXIT.ok;
  },
};

function forPeople([title, content]: Section, out: Output): string {
  const lines = isTable(content) ? out.table(content, INDENT.length).split("\n") : content;
  if (title === "") return lines.join("\n");
  return `${out.strong(`${title}:`)}\n${lines.map((line) => INDENT + line).join("\n")}`;
}

const INDENT = "  ";

/** A table as objects, by its heads. */
function forPrograms(content: Section[1]): unknown {
  if (!isTable(content)) return content;
  const [heads = [], ...rows] = content;
  return rows.map((row) => Object.fromEntries(heads.map((head, i) => [head.toLowerCase(), row[i]])));
}

function isTable(content: Section[1]): content is string[][] {
  return Array.isArray(content[0]);
}
