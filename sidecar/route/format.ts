/** Format strings: text with %COMMAND(argument):LENGTH% parts, `%%` for a percent sign (Envoy substitution formatter). */
import type { FormatLookup } from "../snapshot.ts";

const COMMAND = /%%|%([A-Z][A-Z0-9_]*)(?:\(([^)]*)\))?(?::(\d+))?%/g;

/** What http/handler.ts can look up for a header. */
const FORMAT_COMMANDS: readonly string[] = [
  "REQ",
  "DOWNSTREAM_REMOTE_ADDRESS",
  "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
  "DOWNSTREAM_LOCAL_ADDRESS",
  "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
  "DOWNSTREAM_LOCAL_PORT",
  "DOWNSTREAM_PEER_URI_SAN",
  "REQUESTED_SERVER_NAME",
  "PROTOCOL",
  "HOSTNAME",
];

export interface Format {
  readonly value: (lookup: FormatLookup) => string;
  /** The first part that nothing can be said of, or null. */
  readonly unknown: string | null;
}

/** Envoy's %COMMAND(ARGUMENT):LENGTH%; a command that has no value here is empty. */
export function compileFormat(format: string): Format {
  if (!format.includes("%")) return { value: () => format, unknown: null };
  let unknown: string | null = null;
  for (const [all, command] of format.matchAll(COMMAND))
    if (command !== undefined && !FORMAT_COMMANDS.includes(command)) unknown ??= all;
  return {
    value: (lookup) =>
      format.replace(COMMAND, (_all: string, command?: string, argument?: string, length?: string) => {
        if (command === undefined) return "%";
        const text = lookup(command, argument ?? "") ?? "";
        return length === undefined ? text : text.slice(0, Number(length));
      }),
    unknown,
  };
}
