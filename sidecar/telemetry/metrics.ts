/** Counters and histograms behind handles that are resolved once; a request adds to numbers. */

export type Labels = readonly (readonly [name: string, value: string])[];

export class Counter {
  value = 0;
  add(n: number): void {
    this.value += n;
  }
  inc(): void {
    this.value++;
  }
}

export class Gauge {
  value = 0;
  inc(): void {
    this.value++;
  }
  dec(): void {
    this.value--;
  }
  set(n: number): void {
    this.value = n;
  }
}

export class Histogram {
  readonly bounds: readonly number[];
  /** One more than bounds: the last is +Inf. Not cumulative. */
  readonly counts: Float64Array;
  sum = 0;
  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.counts = new Float64Array(bounds.length + 1);
  }
  observe(value: number): void {
    let at = 0;
    while (at < this.bounds.length && value > this.bounds[at]!) at++;
    this.counts[at]!++;
    this.sum += value;
  }
}

/** Envoy's default buckets, which Istio's dashboards are drawn for (ms and bytes alike). */
const ENVOY_BUCKETS: readonly number[] = [
  0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000, 1800000,
  3600000,
];

type Kind = "counter" | "gauge" | "histogram";

interface Family<T> {
  readonly name: string;
  readonly help: string;
  readonly kind: Kind;
  readonly series: Map<string, T>;
}

/** Names every family's series; a bound keeps a hostile label value (a Host header, say) from filling memory. */
export class MetricRegistry {
  readonly #families = new Map<string, Family<Counter | Gauge | Histogram>>();
  readonly #seriesLimit: number;
  /** Series that were not made because the family was full; they share one unnamed series. */
  readonly overflow: Counter;

  constructor(seriesLimit = 10_000) {
    this.#seriesLimit = seriesLimit;
    this.overflow = this.counter("weft_metric_series_dropped_total", "Label sets not kept: family full.", []);
  }
  counter(name: string, help: string, labels: Labels): Counter {
    return this.#series(name, help, "counter", labels, newCounter) as Counter;
  }
  gauge(name: string, help: string, labels: Labels): Gauge {
    return this.#series(name, help, "gauge", labels, newGauge) as Gauge;
  }
  histogram(name: string, help: string, labels: Labels, bounds = ENVOY_BUCKETS): Histogram {
    return this.#series(name, help, "histogram", labels, () => new Histogram(bounds)) as Histogram;
  }
  #series(
    name: string,
    help: string,
    kind: Kind,
    labels: Labels,
    make: () => Counter | Gauge | Histogram,
  ): Counter | Gauge | Histogram {
    let family = this.#families.get(name);
    if (family === undefined) {
      if (!/^[a-zA-Z_:][a-zA-Z0-9_:]*$/.test(name))
        throw new Error(`metric name "${name}" is not Prometheus'`);
      family = { name, help, kind, series: new Map() };
      this.#families.set(name, family);
    }
    if (family.kind !== kind) throw new Error(`metric ${name} is a ${family.kind}, not a ${kind}`);
    let key = renderLabels(labels);
    let series = family.series.get(key);
    if (series !== undefined) return series;
    if (family.series.size >= this.#seriesLimit) {
      this.overflow.inc();
      key = "";
      series = family.series.get(key);
      if (series !== undefined) return series;
    }
    series = make();
    family.series.set(key, series);
    return series;
  }

  /** Prometheus text format 0.0.4; only families that have series. */
  text(): string {
    const lines: string[] = [];
    for (const family of this.#families.values()) {
      if (family.series.size === 0) continue;
      lines.push(`# HELP ${family.name} ${escapeHelp(family.help)}`, `# TYPE ${family.name} ${family.kind}`);
      for (const [labels, series] of family.series) {
        if (series instanceof Histogram) writeHistogram(lines, family.name, labels, series);
        else lines.push(`${family.name}${labels === "" ? "" : `{${labels}}`} ${series.value}`);
      }
    }
    return `${lines.join("\n")}\n`;
  }

  /** `[name{labels}, value]` of counters and gauges, for the plain /stats page. */
  *values(): Iterable<readonly [string, number]> {
    for (const family of this.#families.values())
      for (const [labels, series] of family.series)
        if (!(series instanceof Histogram))
          yield [labels === "" ? family.name : `${family.name}{${labels}}`, series.value];
  }
}

function newCounter(): Counter {
  return new Counter();
}
function newGauge(): Gauge {
  return new Gauge();
}

function writeHistogram(lines: string[], name: string, labels: string, series: Histogram): void {
  const prefix = labels === "" ? "" : `${labels},`;
  let total = 0;
  for (let at = 0; at <= series.bounds.length; at++) {
    total += series.counts[at]!;
    const bound = at === series.bounds.length ? "+Inf" : String(series.bounds[at]);
    lines.push(`${name}_bucket{${prefix}le="${bound}"} ${total}`);
  }
  const suffix = labels === "" ? "" : `{${labels}}`;
  lines.push(`${name}_sum${suffix} ${series.sum}`, `${name}_count${suffix} ${total}`);
}

function renderLabels(labels: Labels): string {
  let text = "";
  for (const [name, value] of labels) text += `${text === "" ? "" : ","}${name}="${escapeLabel(value)}"`;
  return text;
}

function escapeLabel(value: string): string {
  return value.replace(/[\\"\n]/g, (c) => (c === "\n" ? "\\n" : `\\${c}`));
}

function escapeHelp(value: string): string {
  return value.replace(/[\\\n]/g, (c) => (c === "\n" ? "\\n" : "\\\\"));
}
