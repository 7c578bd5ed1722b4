import type { Output } from "../output.ts";
import { type Finding, round } from "./findings.ts";
import type { Explanation, Way } from "./walk.ts";

const SIDES = { gateway: "gateway", outbound: "leaves", inbound: "arrives at" } as const;
const MARKS = { pass: "+", stop: "x", note: " " } as const;

/** The way as text: one block per proxy, one line per step, the verdict last. */
export function renderExplanation(explanation: Explanation, cwd: string, out: Output): string {
  const { request, from, ways } = explanation;
  // Ways that split share their beginning: each proxy is told once, with what every way adds.
  const blocks = new Map<string, Set<string>>();
  for (const { steps } of ways)
    for (const { pod, side, findings } of steps) {
      const title = `${SIDES[side]} ${out.strong(pod)}`;
      const block = blocks.get(title) ?? new Set();
      blocks.set(title, block);
      for (const finding of findings) block.add(renderFinding(finding, cwd, out));
    }
  const lines = [out.strong(`${request.method} ${request.authority}${request.path} from ${from}`)];
  for (const [title, block] of blocks) lines.push("", title, ...block);
  lines.push("", ...ways.map((way) => verdict(way, ways.length > 1, out)));
  return lines.join("\n");
}

function renderFinding({ what, text, source, outcome }: Finding, cwd: string, out: Output): string {
  const at = source === null ? "" : `  (${source.object}, ${relativeTo(cwd, source.file)}:${source.line})`;
  const line = `  ${MARKS[outcome]} ${what.padEnd(13)} ${text}${at}`;
  return outcome === "stop" ? out.bad(line) : line;
}

function verdict(way: Way, split: boolean, out: Output): string {
  const share = split ? `${round(way.percent)} %: ` : "";
  if (way.status === null) return `${share}${out.strong("=>")} ${way.reason}`;
  const status = way.status === 0 ? "connection closed" : String(way.status);
  return out.bad(`${share}=> ${status}: ${way.reason}`);
}

function relativeTo(folder: string, file: string): string {
  return file.startsWith(`${folder}/`) ? file.slice(folder.length + 1) : file;
}
