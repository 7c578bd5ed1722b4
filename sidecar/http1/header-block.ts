// hot path
/**
 * The field lines of a head, as offsets into the bytes they came in. Names are lowered in place while they are
 * scanned, so a lookup compares bytes and a run of untouched lines is re-emitted as one slice.
 * Syntax: RFC 9112 section 5, RFC 9110 section 5.5; obs-fold, bare CR and bare LF are errors, not repairs.
 */
import { Verdict } from "./errors.ts";

export const MAX_HEAD_BYTES = 60 * 1024;
const MAX_FIELDS = 100;
/** Each option of Connection is looked for among all fields; nobody needs more (Envoy: 10). */
export const MAX_CONNECTION_OPTIONS = 16;

/** What the codec itself must know of a field; everything else is Other and passes through. */
export const Field = {
  Other: 0,
  Host: 1,
  Connection: 2,
  ContentLength: 3,
  TransferEncoding: 4,
  Upgrade: 5,
  Expect: 6,
  Te: 7,
  HopByHop: 8,
} as const;
export type Field = (typeof Field)[keyof typeof Field];

const CR = 13;
const LF = 10;
const STRIDE = 5;

/** 1 = tchar (RFC 9110 5.6.2); the value is the lower-case byte, 0 = not a token character. */
export const TOKEN = new Uint8Array(256);
for (const c of "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")
  TOKEN[c.charCodeAt(0)] = c.charCodeAt(0);
for (let c = 65; c <= 90; c++) TOKEN[c] = c + 32;

/** 1 = may stand in a field value (RFC 9110 5.5): HTAB, SP, VCHAR and obs-text. */
export const VALUE = new Uint8Array(256);
VALUE[9] = 1;
for (let c = 32; c < 256; c++) VALUE[c] = c === 127 ? 0 : 1;

const KNOWN: readonly (readonly [string, Field])[] = [
  ["te", Field.Te],
  ["host", Field.Host],
  ["expect", Field.Expect],
  ["upgrade", Field.Upgrade],
  ["trailer", Field.HopByHop],
  ["connection", Field.Connection],
  ["keep-alive", Field.HopByHop],
  ["content-length", Field.ContentLength],
  ["http2-settings", Field.HopByHop],
  ["proxy-connection", Field.HopByHop],
  ["transfer-encoding", Field.TransferEncoding],
];
const LENGTHS = Array.from({ length: 18 }, (_, length) => length);
const KNOWN_BY_LENGTH = LENGTHS.map((length) => KNOWN.filter(([name]) => name.length === length));

const EMPTY = Buffer.alloc(0);

export class HeaderBlock {
  bytes: Buffer = EMPTY;
  /** Per field: name start, name end, value start, value end, Field. */
  readonly offsets = new Int32Array(MAX_FIELDS * STRIDE);
  count = 0;
  /** Where the next unread line starts, relative to `start`. */
  protected next = 0;
  protected searched = 0;
  protected start = 0;
  /** Offset just past the head once it is complete. */
  end = 0;
  /** Offset just past the byte that gave a bare CR or LF away. */
  protected fault = 0;

  protected resetBlock(start: number): void {
    this.bytes = EMPTY;
    this.count = 0;
    this.start = start;
    this.next = start;
    this.searched = start;
    this.end = 0;
  }

  /**
   * End (offset of CR) of the line that begins at `next`, or -1 for need more, -2 for a line that can never be valid.
   * Remembers how far it searched, so that a head sent byte by byte costs O(n).
   */
  protected lineEnd(bytes: Buffer): number {
    const lf = bytes.indexOf(LF, this.searched);
    if (lf === -1) {
      const cr = bytes.indexOf(CR, Math.max(this.next, this.searched - 1));
      this.searched = bytes.length;
      if (cr === -1 || cr === bytes.length - 1) return -1;
      this.fault = cr + 2;
      return -2;
    }
    if (lf === this.next || bytes[lf - 1] !== CR) {
      this.fault = Math.min(lf + 1, this.bareCr(bytes, lf));
      return -2;
    }
    this.searched = lf + 1;
    return lf - 1;
  }

  /** Offset just past the byte that shows a bare CR before `end` in the line at `next`, or Infinity. */
  protected bareCr(bytes: Buffer, end: number): number {
    const cr = bytes.indexOf(CR, this.next);
    return cr === -1 || cr >= end ? Number.POSITIVE_INFINITY : cr + 2;
  }

  protected scanField(bytes: Buffer, start: number, end: number): Verdict {
    let at = start;
    for (; at < end; at++) {
      const lower = TOKEN[bytes[at]!]!;
      if (lower === 0) break;
      bytes[at] = lower;
    }
    if (at === start || at === end || bytes[at] !== 58) return Verdict.BadHeader;
    const nameEnd = at;
    let valueStart = at + 1;
    while (valueStart < end && (bytes[valueStart] === 32 || bytes[valueStart] === 9)) valueStart++;
    let valueEnd = end;
    while (valueEnd > valueStart && (bytes[valueEnd - 1] === 32 || bytes[valueEnd - 1] === 9)) valueEnd--;
    for (let i = valueStart; i < valueEnd; i++) if (VALUE[bytes[i]!] === 0) return Verdict.BadHeader;
    if (this.count === MAX_FIELDS) return Verdict.TooManyHeaders;
    const slot = this.count++ * STRIDE;
    this.offsets[slot] = start;
    this.offsets[slot + 1] = nameEnd;
    this.offsets[slot + 2] = valueStart;
    this.offsets[slot + 3] = valueEnd;
    this.offsets[slot + 4] = classify(bytes, start, nameEnd - start);
    return Verdict.Ok;
  }

  /** The head lives on in its own bytes: those it came in are about to be overwritten. */
  keep(): void {
    this.bytes = Buffer.from(this.bytes.subarray(0, this.end));
  }

  kind(index: number): Field {
    return this.offsets[index * STRIDE + 4] as Field;
  }

  nameIs(index: number, lowerName: string): boolean {
    const start = this.offsets[index * STRIDE]!;
    if (this.offsets[index * STRIDE + 1]! - start !== lowerName.length) return false;
    return equals(this.bytes, start, lowerName);
  }

  nameBegins(index: number, lowerPrefix: string): boolean {
    const start = this.offsets[index * STRIDE]!;
    if (this.offsets[index * STRIDE + 1]! - start < lowerPrefix.length) return false;
    return equals(this.bytes, start, lowerPrefix);
  }

  /** Erases every field of a name that Connection nominates (RFC 9110 7.6.1): nobody decides by what is not forwarded. */
  protected eraseNominated(lowerName: string): void {
    for (let i = 0; i < this.count; i++)
      if (this.kind(i) === Field.Other && this.nameIs(i, lowerName)) this.erase(i);
  }

  /** As if it had never come: it is not forwarded, and nobody finds it by name. */
  erase(index: number): void {
    this.offsets[index * STRIDE + 4] = Field.HopByHop;
    this.bytes.fill(0, this.offsets[index * STRIDE]!, this.offsets[index * STRIDE + 1]!);
  }

  /** The value as a decimal length, or -1. */
  lengthValue(index: number): number {
    const slot = index * STRIDE;
    return parseLength(this.bytes, this.offsets[slot + 2]!, this.offsets[slot + 3]!);
  }

  name(index: number): string {
    return this.bytes.toString("latin1", this.offsets[index * STRIDE]!, this.offsets[index * STRIDE + 1]!);
  }

  value(index: number): string {
    return this.bytes.toString(
      "latin1",
      this.offsets[index * STRIDE + 2]!,
      this.offsets[index * STRIDE + 3]!,
    );
  }

  /** True if the line stands in the bytes exactly as we would write it: "name: value". */
  isCanonical(index: number): boolean {
    const slot = index * STRIDE;
    const valueStart = this.offsets[slot + 2]!;
    const valueEnd = this.offsets[slot + 3]!;
    return (
      valueStart === this.offsets[slot + 1]! + 2 &&
      this.bytes[valueStart - 1] === 32 &&
      this.bytes[valueEnd] === CR
    );
  }

  lineStart(index: number): number {
    return this.offsets[index * STRIDE]!;
  }

  valueEnd(index: number): number {
    return this.offsets[index * STRIDE + 3]!;
  }

  /** All values of the name joined with ",", or null (RFC 9110 5.3). */
  get(lowerName: string): string | null {
    let found: string | null = null;
    for (let i = 0; i < this.count; i++) {
      if (this.nameIs(i, lowerName)) found = found === null ? this.value(i) : `${found},${this.value(i)}`;
    }
    return found;
  }

  getAll(lowerName: string): readonly string[] {
    const values: string[] = [];
    for (let i = 0; i < this.count; i++) if (this.nameIs(i, lowerName)) values.push(this.value(i));
    return values;
  }

  has(lowerName: string): boolean {
    for (let i = 0; i < this.count; i++) if (this.nameIs(i, lowerName)) return true;
    return false;
  }
}

function classify(bytes: Buffer, start: number, length: number): Field {
  if (length > 17) return Field.Other;
  const candidates = KNOWN_BY_LENGTH[length]!;
  for (let i = 0; i < candidates.length; i++) {
    if (equals(bytes, start, candidates[i]![0])) return candidates[i]![1];
  }
  return Field.Other;
}

function equals(bytes: Buffer, start: number, text: string): boolean {
  for (let i = 0; i < text.length; i++) if (bytes[start + i] !== text.charCodeAt(i)) return false;
  return true;
}

/** A decimal length of 1 to 15 digits (below 2^53), or -1 (RFC 9110 8.6: 1*DIGIT, nothing else). */
export function parseLength(bytes: Buffer, start: number, end: number): number {
  if (end === start || end - start > 15) return -1;
  let value = 0;
  for (let i = start; i < end; i++) {
    const digit = bytes[i]! - 48;
    if (digit < 0 || digit > 9) return -1;
    value = value * 10 + digit;
  }
  return value;
}

/** Does the comma list hold this token? `token` is lower case. */
export function hasToken(list: string, token: string): boolean {
  if (list.length === token.length) return list.toLowerCase() === token;
  let from = 0;
  while (from <= list.length) {
    let comma = list.indexOf(",", from);
    if (comma === -1) comma = list.length;
    if (list.slice(from, comma).trim().toLowerCase() === token) return true;
    from = comma + 1;
  }
  return false;
}
