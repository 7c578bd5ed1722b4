/** What is wrong with the files, short: alike warnings once, with the places where they hold. */
import { relative } from "node:path";

const WARNING = /^warning: (.+?):(\d+): (\S+ \S+?): (.*)$/s;
/** Places of one group, and groups. */
const PLACES = 3;
const GROUPS = 8;

/** Errors stay as they are. `all`: the command that tells the rest. */
export function grouped(lines: readonly string[], cwd: string, all: string): string[] {
  const errors: string[] = [];
  const groups = new Map<string, { text: string; places: string[] }>();
  for (const line of lines) {
    const [, file = "", at, object, text = line] = WARNING.exec(line) ?? [];
    if (!line.startsWith("warning: ")) errors.push(line);
    else if (object === undefined) groups.set(line, { text: line.slice("warning: ".length), places: [] });
    else {
      const key = text.replace(/\[\d+\]/g, "[]");
      const group = groups.get(key) ?? { text, places: [] };
      group.places.push(`${short(file, cwd)}:${at} ${object}`);
      groups.set(key, group);
    }
  }
  const shown = [...groups.values()].slice(0, GROUPS).map(say);
  const left = groups.size - shown.length;
  return [...errors, ...shown, ...(left > 0 ? [`${left} more warnings: ${all}`] : [])];
}

function say({ text, places }: { readonly text: string; readonly places: readonly string[] }): string {
  const [first, ...more] = places;
  if (first === undefined) return `warning: ${text}`;
  if (more.length === 0) return `warning: ${first}: ${text}`;
  const left = places.length - PLACES;
  const rest = left > 0 ? [`  and ${left} more`] : [];
  return [`warning: ${text}`, ...places.slice(0, PLACES).map((place) => `  ${place}`), ...rest].join("\n");
}

function short(file: string, cwd: string): string {
  const path = relative(cwd, file);
  return path.startsWith("..") ? file : path;
}
