/** Label selectors as kubectl's `-l` takes them: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/ */
import { EXIT, UserError } from "./errors.ts";

type Labels = Readonly<Record<string, string>>;
export type Selector = (labels: Labels) => boolean;

const SET = /^([^\s!=,()]+)\s+(in|notin)\s*\(([^()]*)\)$/;
const EQUAL = /^([^\s!=,()]+)\s*(==|=|!=)\s*([^\s!=,()]*)$/;
const EXISTS = /^(!?)\s*([^\s!=,()]+)$/;

/** `app=web,tier!=db,env in (a, b),canary,!old`; a UserError for anything else. */
export function labelSelector(text: string): Selector {
  const tests = text.split(/,(?![^(]*\))/).map((part) => requirement(part.trim(), text));
  return (labels) => tests.every((test) => test(labels));
}

function requirement(part: string, whole: string): Selector {
  const [, key = "", operator, value = ""] = SET.exec(part) ?? EQUAL.exec(part) ?? [];
  if (operator === "in" || operator === "notin") {
    const values = value.split(",").map((one) => one.trim());
    return (labels) => (labels[key] !== undefined && values.includes(labels[key])) === (operator === "in");
  }
  if (operator === "!=") return (labels) => labels[key] !== value;
  if (operator !== undefined) return (labels) => labels[key] === value;
  const [, not, name] = EXISTS.exec(part) ?? [];
  if (name !== undefined) return (labels) => (labels[name] === undefined) === (not === "!");
  throw new UserError(
    `-l ${JSON.stringify(whole)}: write app=web, app!=web, "app in (a, b)", app or !app, several with commas`,
    EXIT.usage,
  );
}
