/** One line of JSON per event on stderr, for people and collectors; nothing is built for a level that is off. */
import { writeSync } from "node:fs";

const LEVELS = { debug: 10, info: 20, warn: 30, error: 40, silent: 100 } as const;
export type LogLevel = keyof typeof LEVELS;

export interface Logger {
  debug(message: string, fields?: Record<string, unknown>): void;
  info(message: string, fields?: Record<string, unknown>): void;
  warn(message: string, fields?: Record<string, unknown>): void;
  error(message: string, fields?: Record<string, unknown>): void;
  /** A logger for a part of the program, named in `scope`; shares the level. */
  child(scope: string): Logger;
  setLevel(level: LogLevel): void;
}

export function isLogLevel(text: string): text is LogLevel {
  return Object.hasOwn(LEVELS, text);
}

/** `write` takes one line with its newline; errors among the fields become their messages. */
export function createLogger(
  scope: string,
  level: LogLevel = "info",
  write: (line: string) => void = toStderr,
): Logger {
  const state = { threshold: LEVELS[level] as number };
  const make = (name: string): Logger => {
    const emit = (kind: LogLevel, message: string, fields?: Record<string, unknown>): void => {
      if (LEVELS[kind] < state.threshold) return;
      write(
        `${JSON.stringify({ time: new Date().toISOString(), level: kind, scope: name, message, ...fields }, plain)}\n`,
      );
    };
    return {
      debug: (m, f) => emit("debug", m, f),
      info: (m, f) => emit("info", m, f),
      warn: (m, f) => emit("warn", m, f),
      error: (m, f) => emit("error", m, f),
      child: (part) => make(`${name}.${part}`),
      setLevel: (next) => {
        state.threshold = LEVELS[next];
      },
    };
  };
  return make(scope);
}

/** Not by process.stderr: after one failed write (a full disk) it ends the process, or is closed for good. */
function toStderr(line: string): void {
  try {
    writeSync(2, line);
  } catch {
    // Nobody can be told.
  }
}

function plain(_key: string, value: unknown): unknown {
  if (value instanceof Error) return value.message;
  return typeof value === "bigint" ? value.toString() : value;
}
