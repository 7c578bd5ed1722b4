/** Format strings: text with %COMMAND(argument)% parts, `%%` for a percent sign (Envoy substitution formatter). */
import type { FormatLookup } from "../snapshot.ts";

const COMMAND = /%%|%([A-Z][A-Z0-9_]*)(?:\(([^)]*)\))?(?::\d+)?%/g;

export function compileFormat(format: string): (lookup: FormatLookup) => string {
  if (!format.includes("%")) return () => format;
  return (lookup) =>
    format.replace(COMMAND, (all: string, command: string | undefined, argument: string | undefined) =>
      all === "%%" || command === undefined ? "%" : (lookup(command, argument ?? "") ?? ""),
    );
}
