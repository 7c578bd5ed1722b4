/** What a file whose first line is `// hot path` may not do: each of these allocates, or costs a microtask, per request or chunk. */

const HEADER = /^\/\/ hot path\b/;
/** A line that does it all the same says why it is not paid per request or chunk. */
const COLD = /\/\/ cold: \S/;

const BANS: readonly (readonly [pattern: RegExp, what: string])[] = [
  [/\basync\b|\bawait\b|\bPromise\b/, "a promise"],
  [/=>(?! [A-Za-z<>[\] |]+;$)/, "a closure"], // `() => Type;` is a type
  [/\.bind\(/, "bind"],
  [/\.\.\.[A-Za-z_$#(]/, "a spread"],
  [/\bnew (Map|Set|WeakMap)\b/, "a Map or Set"],
  [/\.split\(|\.matchAll\(|\.map\(|\.filter\(|\.slice\(\)/, "an array that nobody needs"],
];

/** The bans that one file breaks; module level (no indentation) runs once and may do as it likes. */
export function hotPathViolations(file: string, source: string): string[] {
  if (!HEADER.test(source)) return [];
  const found: string[] = [];
  for (const [index, line] of source.split("\n").entries()) {
    const code = withoutText(line);
    if (!/^\s/.test(code) || COLD.test(line)) continue;
    for (const [pattern, what] of BANS)
      if (pattern.test(code)) found.push(`${file}:${index + 1}: ${what} on the hot path`);
  }
  return found;
}

/** Without strings and comments, in which anything may stand. */
function withoutText(line: string): string {
  return line.replace(/"(\\.|[^"\\])*"/g, '""').replace(/^\s*(\/\*\*?|\*).*|\/\/.*/, "");
}
