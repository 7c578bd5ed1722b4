/** One trace as text: a tree of spans, each with a bar where it lies in the whole. */
import type { TraceAnswer } from "#control-plane/admin/contract.ts";
import { visible } from "./text.ts";

export type Span = TraceAnswer["spans"][number];

export interface Row {
  readonly span: Span;
  readonly depth: number;
}

/** Depth first, children by start time. A span whose parent is missing stands at the left. */
export function arrange(spans: readonly Span[]): Row[] {
  const ids = new Set(spans.map((span) => span.spanId));
  const children = new Map<string, Span[]>();
  for (const span of spans) {
    const parent = ids.has(span.parentSpanId) ? span.parentSpanId : "";
    children.set(parent, [...(children.get(parent) ?? []), span]);
  }
  const rows: Row[] = [];
  const seen = new Set<string>();
  const add = (parent: string, depth: number): void => {
    for (const span of (children.get(parent) ?? []).sort((a, b) => a.startMs - b.startMs)) {
      if (seen.has(span.spanId)) continue; // a loop of parents, from a broken reporter
      seen.add(span.spanId);
      rows.push({ span, depth });
      add(span.spanId, depth + 1);
    }
  };
  add("", 0);
  return rows;
}

/** What a request line of a trace shows: proxies say more about it than apps. */
export function requestOf(spans: readonly Span[]): { request: string; status: string } {
  const root = arrange(spans)[0]?.span;
  const proxy = spans.find((span) => span.attributes["http.url"] !== undefined) ?? root;
  const { attributes = {}, name = "" } = proxy ?? {};
  const url = String(attributes["http.url"] ?? "").replace(/^https?:\/\/[^/]*/, "");
  return {
    request: visible(url === "" ? name : `${attributes["http.method"] ?? ""} ${url}`.trim()),
    status: visible(String(attributes["http.status_code"] ?? attributes["http.response.status_code"] ?? "")),
  };
}

/** Who reported it and in which role: "productpage", "sidecar in" ... */
function role(span: Span): string {
  if (span.attributes["component"] !== "proxy") return "app";
  return span.kind === "client" ? "proxy out" : "proxy in";
}

const BLOCKS = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"] as const;

/** A bar of `width` cells for the part [from, to] of the whole (0 to 1), at least a sliver. */
function bar(from: number, to: number, width: number): string {
  const begin = Math.min(width - 1, Math.floor(from * width));
  const eighths = Math.max(1, Math.round((to - begin / width) * width * 8));
  const cells = Math.min(width - begin, Math.floor(eighths / 8));
  const rest = begin + cells < width ? BLOCKS[eighths % 8]! : "";
  return `${" ".repeat(begin)}${"█".repeat(cells)}${rest}`.padEnd(width);
}

const ms = (value: number): string => `${value < 100 ? value.toFixed(1) : Math.round(value)} ms`;

/** Lines no longer than `width` columns; `bad` marks failed spans. */
export function waterfall(spans: readonly Span[], width: number, bad: (text: string) => string): string[] {
  const rows = arrange(spans);
  const begin = Math.min(...spans.map((span) => span.startMs));
  const whole = Math.max(0.001, Math.max(...spans.map((span) => span.endMs)) - begin);
  const labels = rows.map(({ span, depth }) => {
    const service = span.service.replace(/\.[^.]+$/, "");
    const to = span.kind === "client" ? ` -> ${span.name.replace(/(\.svc)?(\.[a-z.]+)?:.*/, "")}` : "";
    return `${"  ".repeat(depth)}${visible(service + to)}`;
  });
  const label = Math.min(Math.floor(width * 0.45), Math.max(...labels.map((text) => text.length)));
  const bars = Math.max(10, width - label - 26);
  return rows.map(({ span }, i) => {
    const name = labels[i]!.length > label ? `${labels[i]!.slice(0, label - 1)}…` : labels[i]!.padEnd(label);
    const drawn = bar((span.startMs - begin) / whole, (span.endMs - begin) / whole, bars);
    const code = visible(String(span.attributes["http.status_code"] ?? ""));
    const line = `${name}  ${role(span).padEnd(9)}  ${drawn} ${ms(span.endMs - span.startMs).padStart(8)}${code === "" || code === "200" ? "" : ` ${code}`}`;
    return span.error || /^[45]/.test(code) ? bad(line) : line;
  });
}
