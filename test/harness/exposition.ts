/** Prometheus text format 0.0.4, read strictly (prometheus.io/docs/instrumenting/exposition_formats). */
export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

const NAME = "[a-zA-Z_:][a-zA-Z0-9_:]*";
const SAMPLE = new RegExp(`^(${NAME})(?:\\{(.*)\\})? (-?[0-9.e+-]+|NaN|[+-]Inf)$`);
const LABEL = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(,|$)/y;

/** Throws with the line at the first break of the format. */
export function parseExposition(text: string): Sample[] {
  if (!text.endsWith("\n")) throw new Error("the last line does not end");
  const types = new Map<string, string>();
  const seen = new Set<string>();
  const samples: Sample[] = [];
  let family = "";
  for (const line of text.slice(0, -1).split("\n")) {
    const comment = new RegExp(`^# (HELP|TYPE) (${NAME}) (.*)$`).exec(line);
    if (comment !== null) {
      const [, kind, name = "", rest = ""] = comment;
      if (kind === "HELP") continue;
      if (types.has(name)) throw new Error(`a second TYPE: ${line}`);
      if (!["counter", "gauge", "histogram"].includes(rest)) throw new Error(`no such type: ${line}`);
      types.set(name, rest);
      family = name;
      continue;
    }
    const match = SAMPLE.exec(line);
    if (match === null) throw new Error(`no sample: ${line}`);
    const [, name = "", body = "", value = ""] = match;
    const base = types.get(family) === "histogram" ? name.replace(/_(bucket|sum|count)$/, "") : name;
    if (base !== family) throw new Error(`outside of its family ${family}: ${line}`);
    const labels = parseLabels(body, line);
    const key = `${name}${JSON.stringify(Object.entries(labels).sort())}`;
    if (seen.has(key)) throw new Error(`twice: ${line}`);
    seen.add(key);
    samples.push({ name, labels, value: Number(value.replace("Inf", "Infinity")) });
  }
  for (const [name, type] of types) if (type === "histogram") checkHistogram(name, samples);
  return samples;
}

function parseLabels(body: string, line: string): Record<string, string> {
  const labels: Record<string, string> = {};
  LABEL.lastIndex = 0;
  while (LABEL.lastIndex < body.length) {
    const match = LABEL.exec(body);
    if (match === null) throw new Error(`no label: ${line}`);
    const [, name = "", value = "", end] = match;
    if (name in labels) throw new Error(`label ${name} twice: ${line}`);
    if (end === "," && LABEL.lastIndex === body.length) throw new Error(`nothing after the comma: ${line}`);
    labels[name] = value.replace(/\\(.)/g, (_, c: string) => (c === "n" ? "\n" : c));
  }
  return labels;
}

/** Buckets rise, end in +Inf, and that one is the count. */
function checkHistogram(name: string, samples: readonly Sample[]): void {
  const buckets = new Map<string, { le: number; value: number }[]>();
  const keyOf = ({ le: _, ...rest }: Readonly<Record<string, string>>): string => JSON.stringify(rest);
  for (const { name: n, labels, value } of samples)
    if (n === `${name}_bucket`) {
      const key = keyOf(labels);
      const le = Number((labels["le"] ?? "").replace("Inf", "Infinity"));
      buckets.set(key, [...(buckets.get(key) ?? []), { le, value }]);
    }
  for (const { name: n, labels, value } of samples) {
    if (n !== `${name}_count`) continue;
    const rising = buckets.get(keyOf(labels)) ?? [];
    const last = rising.at(-1);
    if (last?.le !== Number.POSITIVE_INFINITY || last.value !== value)
      throw new Error(`${name} ${JSON.stringify(labels)}: +Inf is not the count`);
    rising.reduce((a, b) => {
      if (b.le <= a.le || b.value < a.value) throw new Error(`${name}: buckets do not rise at le=${b.le}`);
      return b;
    });
  }
}
