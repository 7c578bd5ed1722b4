import { relative } from "node:path";
import type { Output } from "../output.ts";
import { hang } from "../text.ts";
import type { Explanation, Place, Step } from "./contract.ts";
import { percent } from "./verdict.ts";

const LABELS: Record<Step["kind"], string> = {
  client: "from",
  config: "config",
  listener: "listener",
  route: "route",
  fault: "fault",
  cluster: "cluster",
  endpoints: "endpoints",
  mtls: "mTLS",
  chain: "chain",
  authorization: "authz",
  app: "app",
};
const LABEL_WIDTH = 10;

/** For people; places are shown relative to `cwd`. */
export function show(
  { request, from, steps, destinations, verdict }: Explanation,
  out: Output,
  cwd: string,
): string {
  const lines = [out.strong(`${request.method} ${request.url}`)];
  for (const [name, value] of Object.entries(request.headers)) lines.push(`${name}: ${value}`);
  lines.push("", out.strong(from.kind === "outside" ? `at the gateway ${from.pod}` : `leaving ${from.pod}`));
  if (from.spiffeId !== null) lines.push(out.dim(`  as ${from.spiffeId}`));
  for (const step of steps)
    if (step.kind !== "client" || step.details.length > 0) lines.push(...showStep(step, out, cwd));
  for (const { share, pods, cluster, steps: there } of destinations) {
    const chance = share === 1 ? "" : `, ${percent(share)}`;
    lines.push("", out.strong(`to ${pods.length === 0 ? cluster : pods.join(", ")}${chance}`));
    for (const step of there) lines.push(...showStep(step, out, cwd));
  }
  const text = hang(verdictText(verdict.text, cwd), out.columns, 0);
  lines.push("", verdict.reachesApp ? out.good(text) : out.bad(text));
  return lines.join("\n");
}

function verdictText(text: string, cwd: string): string {
  return text.replace(
    /(\/[^\s:()]+):(\d+)/g,
    (_all, file: string, line: string) => `${near(file, cwd)}:${line}`,
  );
}

function showStep({ kind, ok, text, place, details }: Step, out: Output, cwd: string): string[] {
  const mark = kind === "config" ? out.bad("!") : ok ? out.good("✓") : out.bad("✗");
  const body = hang(text, out.columns, LABEL_WIDTH + 4);
  const lines = [`  ${mark} ${LABELS[kind].padEnd(LABEL_WIDTH)}${ok ? body : out.bad(body)}`];
  const indent = " ".repeat(LABEL_WIDTH + 4);
  if (place !== null) lines.push(...at(place, indent, out, cwd));
  for (const detail of details) {
    lines.push(`${indent}- ${hang(detail.text, out.columns, LABEL_WIDTH + 6)}`);
    if (detail.place !== null) lines.push(...at(detail.place, `${indent}  `, out, cwd));
  }
  return lines;
}

/** The object and its place, on two lines where one would break in the middle of the path. */
function at({ object, file, line }: Place, indent: string, out: Output, cwd: string): string[] {
  const where = line === 0 ? "" : `${near(file, cwd)}:${line}`;
  const one = `${indent}${object}  ${where}`.trimEnd();
  const lines = one.length <= out.columns ? [one] : [`${indent}${object}`, `${indent}${where}`];
  return lines.map((text) => out.dim(text));
}

/** The shorter of the path from here and the absolute one. */
function near(file: string, cwd: string): string {
  const short = relative(cwd, file);
  return short !== "" && short.length < file.length ? short : file;
}
