/** The latest traces of the mesh, in an SQLite file of the state directory: they outlive a restart. */
import { DatabaseSync, type StatementSync } from "node:sqlite";
import type { Span } from "./span.ts";

export interface TraceSummary {
  readonly traceId: string;
  /** Name and service of the root span, or of the earliest one while the root is missing. */
  readonly root: string;
  readonly service: string;
  /** ms since the epoch, with fraction. */
  readonly startMs: number;
  readonly durationMs: number;
  readonly spans: number;
  /** Whether any span failed. */
  readonly error: boolean;
}

export interface TraceQuery {
  /** Most traces, newest first. */
  readonly limit: number;
  /** Only traces with a span of one of these services. */
  readonly services?: readonly string[];
  /** Only traces whose id begins so; lower-case hex. */
  readonly idPrefix?: string;
  /** Only traces that began then or later; ms since the epoch. */
  readonly sinceMs?: number;
  /** Only traces that began before. */
  readonly untilMs?: number;
}

export interface TraceBounds {
  readonly spans: number;
  readonly spansPerTrace: number;
  /** Of the file; what SQLite writes ahead of it comes on top, at most WAL_BYTES between two writes. */
  readonly bytes: number;
  readonly ageMs: number;
}

const MIB = 1024 * 1024;
const BOUNDS: TraceBounds = {
  spans: 100_000,
  spansPerTrace: 2_000,
  bytes: 48 * MIB,
  ageMs: 24 * 3_600_000,
};
const WAL_BYTES = 2 * MIB;
/** Old traces are looked for this often, while spans arrive. */
const TIDY_EVERY_MS = 60_000;

// Losing the last traces in a power cut is fine, a half-written file is not: hence WAL, without fsync per commit.
const SCHEMA = `
  PRAGMA journal_mode = WAL;
  PRAGMA synchronous = NORMAL;
  PRAGMA wal_autocheckpoint = 256;
  PRAGMA journal_size_limit = ${WAL_BYTES};
  CREATE TABLE IF NOT EXISTS traces (id TEXT PRIMARY KEY, start_ms REAL NOT NULL, spans INTEGER NOT NULL) WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS traces_by_start ON traces (start_ms);
  CREATE TABLE IF NOT EXISTS spans (
    trace TEXT NOT NULL, id TEXT NOT NULL, parent TEXT NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL,
    service TEXT NOT NULL, start_ms REAL NOT NULL, end_ms REAL NOT NULL, attributes TEXT NOT NULL,
    error INTEGER NOT NULL, PRIMARY KEY (trace, id)
  ) WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS spans_by_service ON spans (service, trace);
  PRAGMA user_version = 1;
`;

interface Row {
  readonly trace: string;
  readonly id: string;
  readonly parent: string;
  readonly name: string;
  readonly kind: Span["kind"];
  readonly service: string;
  readonly start_ms: number;
  readonly end_ms: number;
  readonly attributes: string;
  readonly error: number;
}

/** Pages of the file; the free ones are used again. */
interface Pages {
  readonly size: number;
  readonly pages: number;
  readonly free: number;
}

/** Not for several processes at once. Times are in ms. */
export class TraceStore {
  readonly #db: DatabaseSync;
  readonly #bounds: TraceBounds;
  readonly #insert: StatementSync;
  readonly #touch: StatementSync;
  readonly #pages: StatementSync;
  readonly #now: () => number;
  #count: number;
  #tidied = 0;

  /** `file` is made when it is missing; ":memory:" keeps nothing. Throws when the file is no trace store. */
  constructor(file: string, bounds: Partial<TraceBounds> = {}, now: () => number = Date.now) {
    this.#bounds = { ...BOUNDS, ...bounds };
    this.#now = now;
    this.#db = new DatabaseSync(file);
    try {
      const version = this.#db.prepare("PRAGMA user_version").get()?.["user_version"];
      if (version !== 0 && version !== 1) throw new Error(`it has version ${version}, this program knows 1`);
      this.#db.exec(SCHEMA);
    } catch (error) {
      this.#db.close();
      throw new Error(
        `${file} is not a usable trace store: ${(error as Error).message}. Remove it to begin a new one.`,
      );
    }
    this.#insert = this.#db.prepare("INSERT OR IGNORE INTO spans VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    this.#touch = this.#db.prepare(`INSERT INTO traces VALUES (?, ?, 1) ON CONFLICT (id) DO UPDATE
      SET start_ms = min(start_ms, excluded.start_ms), spans = spans + 1 WHERE spans < ? RETURNING spans`);
    this.#pages = this.#db.prepare(
      "SELECT page_size AS size, page_count AS pages, freelist_count AS free FROM pragma_page_size, pragma_page_count, pragma_freelist_count",
    );
    this.#count = this.#db.prepare("SELECT coalesce(sum(spans), 0) AS n FROM traces").get()?.["n"] as number;
    this.#begin();
  }

  /** A file that grew before there was a bound, or whose traces are of last week, begins small again. */
  #begin(): void {
    this.#transaction(() => this.#makeRoom());
    const { size, pages } = this.#pages.get() as unknown as Pages;
    if (size * pages > this.#bounds.bytes) this.#db.exec("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)");
  }

  /** Keeps the spans; the oldest traces make room. Answers how many were left out because their trace is full. */
  add(spans: readonly Span[]): number {
    let full = 0;
    this.#transaction(() => {
      for (const s of spans) {
        const room = this.#touch.get(s.traceId, s.startMs, this.#bounds.spansPerTrace) !== undefined;
        if (!room) {
          full++;
          continue;
        }
        const { changes } = this.#insert.run(
          s.traceId,
          s.spanId,
          s.parentSpanId,
          s.name,
          s.kind,
          s.service,
          s.startMs,
          s.endMs,
          JSON.stringify(s.attributes),
          s.error ? 1 : 0,
        );
        // Exporters repeat a batch whose answer they missed.
        if (changes === 0)
          this.#db.prepare("UPDATE traces SET spans = spans - 1 WHERE id = ?").run(s.traceId);
        else this.#count++;
      }
      this.#makeRoom();
    });
    return full;
  }

  list(query: TraceQuery): TraceSummary[] {
    return this.#find(query).map(summary);
  }

  /** The same with all their spans. */
  listWhole(query: TraceQuery): { readonly summary: TraceSummary; readonly spans: readonly Span[] }[] {
    return this.#find(query).map((spans) => ({ summary: summary(spans), spans }));
  }

  #find(query: TraceQuery): (readonly [Span, ...Span[]])[] {
    const services = query.services ?? [];
    const prefix = query.idPrefix ?? "";
    const since = Math.max(query.sinceMs ?? 0, this.#oldest());
    const found = this.#db
      .prepare(
        `SELECT id FROM traces WHERE start_ms >= ? AND start_ms < ? AND id >= ? AND id < ?
         ${services.length === 0 ? "" : `AND EXISTS (SELECT 1 FROM spans WHERE service IN (${services.map(() => "?")}) AND trace = traces.id)`}
         ORDER BY start_ms DESC LIMIT ?`,
      )
      .all(since, query.untilMs ?? Number.MAX_SAFE_INTEGER, prefix, `${prefix}g`, ...services, query.limit);
    return found.flatMap((row) => {
      const spans = this.get(row["id"] as string);
      return spans === null ? [] : [spans];
    });
  }

  /** Names of all services that have a span here, sorted. One step in the index for each. */
  services(): string[] {
    const rows = this.#db
      .prepare(
        `WITH RECURSIVE known (one) AS (
           SELECT min(service) FROM spans
           UNION ALL SELECT (SELECT min(service) FROM spans WHERE service > known.one) FROM known WHERE known.one IS NOT NULL
         ) SELECT one FROM known WHERE one IS NOT NULL`,
      )
      .all();
    return rows.map((row) => row["one"] as string);
  }

  /** The spans of a trace, earliest first; null when it is unknown. */
  get(traceId: string): readonly [Span, ...Span[]] | null {
    const rows = this.#db
      .prepare("SELECT * FROM spans WHERE trace = ? ORDER BY start_ms, end_ms DESC")
      .all(traceId);
    const [first, ...rest] = (rows as unknown as Row[]).map(fromRow);
    return first === undefined ? null : [first, ...rest];
  }

  close(): void {
    this.#db.close();
  }

  #oldest(): number {
    return this.#now() - this.#bounds.ageMs;
  }

  /** Removes what is too old, and the oldest where there is too much: a little more at once, so that it is not done for every batch. */
  #makeRoom(): void {
    const { spans: most, bytes } = this.#bounds;
    const { size, pages, free } = this.#pages.get() as unknown as Pages;
    const share = Math.min(most / Math.max(1, this.#count), bytes / (size * (pages - free)));
    const due = this.#now() - this.#tidied >= TIDY_EVERY_MS;
    if (share >= 1 && !due) return;
    if (due) this.#tidied = this.#now();
    const goal = share >= 1 ? this.#count : this.#count * share * 0.97;
    const oldest = this.#db.prepare("SELECT id, spans, start_ms FROM traces ORDER BY start_ms").iterate();
    const gone: string[] = [];
    for (const row of oldest) {
      if (this.#count <= goal && (row["start_ms"] as number) >= this.#oldest()) break;
      gone.push(row["id"] as string);
      this.#count -= row["spans"] as number;
    }
    for (const table of ["spans WHERE trace", "traces WHERE id"]) {
      const remove = this.#db.prepare(`DELETE FROM ${table} = ?`);
      for (const id of gone) remove.run(id);
    }
  }

  #transaction(work: () => void): void {
    const before = this.#count;
    this.#db.exec("BEGIN");
    try {
      work();
      this.#db.exec("COMMIT");
    } catch (error) {
      this.#count = before;
      // SQLite has rolled back by itself where the disk was full.
      if (this.#db.isTransaction) this.#db.exec("ROLLBACK");
      throw error;
    }
  }
}

function summary(spans: readonly [Span, ...Span[]]): TraceSummary {
  const root = spans.find((s) => s.parentSpanId === "") ?? spans[0];
  const startMs = spans[0].startMs;
  return {
    traceId: root.traceId,
    root: root.name,
    service: root.service,
    startMs,
    durationMs: Math.max(...spans.map((s) => s.endMs)) - startMs,
    spans: spans.length,
    error: spans.some((s) => s.error),
  };
}

function fromRow(row: Row): Span {
  return {
    traceId: row.trace,
    spanId: row.id,
    parentSpanId: row.parent,
    name: row.name,
    kind: row.kind,
    service: row.service,
    startMs: row.start_ms,
    endMs: row.end_ms,
    attributes: JSON.parse(row.attributes),
    error: row.error === 1,
  };
}
