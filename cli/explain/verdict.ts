import type { Explanation, Outcome } from "./contract.ts";

/** One line. Chance (weights, faults) is told as shares. */
export function verdictOf(outcomes: readonly Outcome[], tcp: boolean): Explanation["verdict"] {
  const good = tcp ? "connected" : "200 expected";
  const reachesApp = outcomes.length > 0 && outcomes.every((o) => o.reachesApp);
  const certain = new Set(outcomes.map((o) => o.status)).size === 1;
  const [first] = outcomes;
  if (first === undefined)
    return { status: 503, reachesApp: false, text: "503 because the route leads nowhere" };
  if (reachesApp) {
    const ways =
      outcomes.length === 1
        ? first.because
        : outcomes.map((o) => `${percent(o.share)} ${o.because}`).join(", ");
    return { status: tcp ? null : 200, reachesApp, text: `${good}: ${ways}` };
  }
  if (outcomes.length === 1) return { status: first.status, reachesApp, text: said(first, good) };
  const parts = [...outcomes]
    .sort((a, b) => b.share - a.share)
    .map((o) => `${percent(o.share)} ${said(o, good)}`);
  if (certain) parts[0] = `${parts.length} ways to the same ${first.status}: ${parts[0]}`;
  return { status: certain ? first.status : null, reachesApp, text: parts.join("; ") };
}

function said(o: Outcome, good: string): string {
  if (o.reachesApp) return `${good}: ${o.because}`;
  const what = o.status === 0 ? "no answer" : String(o.status);
  const where = o.place === null ? "" : ` (${o.place.object}, ${o.place.file}:${o.place.line})`;
  return `${what} because ${o.because}${where}`;
}

/** `share` in 0..1; small shares keep two digits. */
export function percent(share: number): string {
  return `${Number((share * 100).toFixed(share < 0.01 ? 2 : 1))} %`;
}
