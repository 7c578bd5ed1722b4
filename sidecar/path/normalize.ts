// hot path
/**
 * One normalised path for route, RBAC and the forwarded bytes. Modes are Istio's pathNormalization: NONE, BASE,
 * MERGE_SLASHES, DECODE_AND_MERGE_SLASHES. Decodes once, unreserved characters only (RFC 3986 6.2.2).
 */
export type PathMode = "NONE" | "BASE" | "MERGE_SLASHES" | "DECODE_AND_MERGE_SLASHES";

/** The path with its query as it came, or null for a path that must be answered 400. */
export function normalizePath(target: string, mode: PathMode): string | null {
  if (mode === "NONE" || target.charCodeAt(0) !== 47) return target;
  const mark = target.indexOf("?");
  const path = mark === -1 ? target : target.slice(0, mark);
  const query = mark === -1 ? "" : target.slice(mark);
  const merge = mode !== "BASE";
  if (isPlain(path, merge)) return target;
  const decoded = decode(path, mode === "DECODE_AND_MERGE_SLASHES");
  return decoded === null ? null : removeDots(decoded, merge) + query;
}

/** Nothing to decode, no backslash, no segment that begins with a dot, no double slash to merge. */
function isPlain(path: string, merge: boolean): boolean {
  for (let i = 0; i < path.length; i++) {
    const c = path.charCodeAt(i);
    if (c === 37 || c === 92) return false;
    if (c === 47) {
      const next = path.charCodeAt(i + 1);
      if (next === 46 || (merge && next === 47)) return false;
    }
  }
  return true;
}

function decode(path: string, slashes: boolean): string | null {
  let out = "";
  for (let i = 0; i < path.length; i++) {
    const c = path.charCodeAt(i);
    if (c === 92) out += "/";
    else if (c !== 37) out += path[i];
    else {
      const value = hex(path.charCodeAt(i + 1)) * 16 + hex(path.charCodeAt(i + 2));
      if (!(value > 0)) return null; // malformed (NaN) or NUL
      if (isUnreserved(value)) out += String.fromCharCode(value);
      else if (slashes && (value === 47 || value === 92)) out += "/";
      else out += path.slice(i, i + 3);
      i += 2;
    }
  }
  return out;
}

/** RFC 3986 5.2.4; "..;x" counts as ".." because servlet containers read it so (CVE-2026-73551). */
function removeDots(path: string, merge: boolean): string {
  const kept: string[] = [];
  const segments = path.split("/"); // cold: plain paths do not come here
  const last = segments.length - 1;
  for (let i = 1; i <= last; i++) {
    const segment = segments[i]!;
    const semicolon = segment.indexOf(";");
    const bare = semicolon === -1 ? segment : segment.slice(0, semicolon);
    if (bare === ".." || bare === ".") {
      if (bare === "..") kept.pop();
      if (i === last) kept.push("");
    } else if (segment !== "" || !merge || i === last) kept.push(segment);
  }
  return `/${kept.join("/")}`;
}

function hex(c: number): number {
  if (c >= 48 && c <= 57) return c - 48;
  const lower = c | 32;
  return lower >= 97 && lower <= 102 ? lower - 87 : Number.NaN;
}

function isUnreserved(c: number): boolean {
  return (
    (c >= 48 && c <= 57) ||
    (c >= 65 && c <= 90) ||
    (c >= 97 && c <= 122) ||
    c === 45 ||
    c === 46 ||
    c === 95 ||
    c === 126
  );
}
