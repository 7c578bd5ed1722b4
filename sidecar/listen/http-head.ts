/**
 * Whether the first bytes of a connection are HTTP. What HTTP/1 servers are known to take for a request is HTTP here,
 * also what http1/ then refuses: taken for TCP it would pass routes and policies.
 */
const H2_PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1");
/** A request line above this is not waited for: what http1/ takes (a target of 16 KiB) is below. */
const LONGEST_REQUEST_LINE = 17 * 1024;
/** RFC 9110 9.3 and RFC 5789; others are recognised by what follows them. */
const METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT"];
const LONGEST_METHOD = 7;
const [TAB, LF, VT, FF, CR, SP, SLASH] = [9, 10, 11, 12, 13, 32, 47] as const;

/** "http/1.0", "http/1.1", "h2c", "" for anything else, null for "not yet". */
export function httpProtocol(bytes: Buffer): string | null {
  if (beginsPreface(bytes)) return bytes.length >= H2_PREFACE.length ? "h2c" : null;
  const { start, end } = firstWord(bytes);
  if (end === bytes.length) return bytes.length > LONGEST_REQUEST_LINE ? "" : null;
  if (end === start || !endsMethod(bytes, start, end)) return "";
  const eol = bytes.indexOf(LF, end);
  if (eol < 0) {
    if (bytes.length <= LONGEST_REQUEST_LINE) return null;
    return isMethod(bytes, start, end) || bytes[end + 1] === SLASH ? "http/1.1" : "";
  }
  const line = bytes.toString("latin1", end, eol);
  const version = /[ \t\v\f]HTTP\/(\d\.?\d*)[ \t\r]*$/i.exec(line);
  if (version !== null) return version[1] === "1.0" ? "http/1.0" : "http/1.1";
  // No version is HTTP/0.9, which some servers still answer. A text protocol's GET has no path.
  return isMethod(bytes, start, end) && /^\s*(?:\/|https?:\/\/)/i.test(line) ? "http/1.1" : "";
}

/** Whether bytes that are too few to tell look like the beginning of a request rather than another protocol's words. */
export function likelyHttp(bytes: Buffer): boolean {
  if (bytes.length >= 4 && beginsPreface(bytes)) return true;
  const { start, end } = firstWord(bytes);
  if (end === start) return false;
  const word = bytes.toString("latin1", start, Math.min(end, start + LONGEST_METHOD + 1));
  if (end === bytes.length) return METHODS.some((method) => method.startsWith(word));
  return endsMethod(bytes, start, end) && (METHODS.includes(word) || bytes[end + 1] === SLASH);
}

function beginsPreface(bytes: Buffer): boolean {
  const length = Math.min(bytes.length, H2_PREFACE.length);
  return bytes.compare(H2_PREFACE, 0, length, 0, length) === 0;
}

/** The first token (RFC 9110 5.6.2) after empty lines, which servers skip (RFC 9112 2.2). */
function firstWord(bytes: Buffer): { start: number; end: number } {
  let at = 0;
  while (at < bytes.length && (bytes[at] === CR || bytes[at] === LF)) at++;
  const start = at;
  while (at < bytes.length && isToken(bytes[at]!)) at++;
  return { start, end: at };
}

function isMethod(bytes: Buffer, start: number, end: number): boolean {
  return METHODS.includes(bytes.toString("latin1", start, Math.min(end, start + LONGEST_METHOD + 1)));
}

/** A space, or what lenient servers take for one (RFC 9112 3). */
function endsMethod(bytes: Buffer, start: number, end: number): boolean {
  const next = bytes[end]!;
  if (next === SP || next === TAB || next === VT || next === FF) return true;
  return next === CR && isMethod(bytes, start, end);
}

function isToken(byte: number): boolean {
  if ((byte >= 0x30 && byte <= 0x39) || (byte >= 0x41 && byte <= 0x5a) || (byte >= 0x5e && byte <= 0x7a))
    return true;
  return (
    byte === 0x21 ||
    (byte >= 0x23 && byte <= 0x27) ||
    byte === 0x2a ||
    byte === 0x2b ||
    byte === 0x2d ||
    byte === 0x2e ||
    byte === 0x7c ||
    byte === 0x7e
  );
}
