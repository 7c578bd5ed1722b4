import { execFileSync } from "node:child_process";
import { cpus, release, totalmem } from "node:os";

/** One measured quantity. `ratio` is Weft to Envoy. */
export interface Row {
  readonly case: string;
  readonly unit: string;
  readonly weft: number;
  readonly envoy: number;
  readonly ratio: number;
  readonly [rival: string]: number | string;
}

export interface Report {
  readonly question: string;
  readonly rows: readonly Row[];
}

function machine(): string {
  const model = cpus()[0]?.model ?? "unknown CPU";
  const gib = Math.round(totalmem() / 2 ** 30);
  return `${cpus().length} x ${model}, ${gib} GiB, Linux ${release()}, Node ${process.versions.node}`;
}

function commit(): string {
  try {
    return execFileSync("git", ["describe", "--always", "--dirty"], { encoding: "utf8" }).trim();
  } catch {
    return "unknown";
  }
}

/** The form of every bench: one object. */
export function toJson(report: Report): string {
  return JSON.stringify({
    question: report.question,
    machine: machine(),
    commit: commit(),
    rows: report.rows,
  });
}

/** A Markdown table, as the README shows it. */
export function toTable(report: Report): string {
  const names = Object.keys(report.rows[0] ?? {}).filter((k) => !["case", "unit", "ratio"].includes(k));
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  const show = (value: number | string | undefined): string => {
    if (typeof value !== "number") return "";
    return value >= 1000 ? Math.round(value).toLocaleString("en") : value.toFixed(value >= 100 ? 0 : 1);
  };
  return [
    line(["", ...names, "weft / envoy"]),
    line(["---", ...names.map(() => "---:"), "---:"]),
    ...report.rows.map((row) =>
      line([
        row.unit === "" ? row.case : `${row.case} (${row.unit})`,
        ...names.map((name) => show(row[name])),
        Number.isFinite(row.ratio) ? row.ratio.toFixed(2) : "",
      ]),
    ),
    "",
    `${machine()}; commit ${commit()}`,
  ].join("\n");
}
