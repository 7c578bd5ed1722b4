/** The path that a listener works with, by the path options of its connection manager. */
import type { HttpConfig } from "../snapshot.ts";
import { normalizePath, type PathMode } from "./normalize.ts";

const ESCAPED_SLASH = /%(2f|5c)/i;

/** Null: the request is answered 400. */
export function acceptedPath(path: string, config: HttpConfig): string | null {
  if (config.pathWithEscapedSlashes === "REJECT_REQUEST") {
    const mark = path.indexOf("?");
    if (ESCAPED_SLASH.test(mark === -1 ? path : path.slice(0, mark))) return null;
  }
  return normalizePath(path, pathMode(config));
}

function pathMode(config: HttpConfig): PathMode {
  if (config.pathWithEscapedSlashes.startsWith("UNESCAPE")) return "DECODE_AND_MERGE_SLASHES";
  if (config.mergeSlashes) return "MERGE_SLASHES";
  return config.normalizePath ? "BASE" : "NONE";
}
