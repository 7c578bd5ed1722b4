/** The path that a listener works with, by the path options of its connection manager. */
import type { HttpConfig } from "../snapshot.ts";
import { normalizePath, type PathMode } from "./normalize.ts";

const ESCAPED_SLASH = /%(2f|5c)/i;

/** Null: the request is answered 400. */
export function acceptedPath(path: string, config: HttpConfig): string | null {
  if (config.pathWithEscapedSlashes === "REJECT_REQUEST" && hasEscapedSlash(path)) return null;
  return normalizePath(path, pathMode(config));
}

/** The client is to ask again for the path that was made of its own, so that it and we mean the same one. */
export function redirectsEscapedSlashes(path: string, config: HttpConfig): boolean {
  return config.pathWithEscapedSlashes === "UNESCAPE_AND_REDIRECT" && hasEscapedSlash(path);
}

function hasEscapedSlash(path: string): boolean {
  const mark = path.indexOf("?");
  return ESCAPED_SLASH.test(mark === -1 ? path : path.slice(0, mark));
}

function pathMode(config: HttpConfig): PathMode {
  if (config.pathWithEscapedSlashes.startsWith("UNESCAPE")) return "DECODE_AND_MERGE_SLASHES";
  if (config.mergeSlashes) return "MERGE_SLASHES";
  return config.normalizePath ? "BASE" : "NONE";
}
