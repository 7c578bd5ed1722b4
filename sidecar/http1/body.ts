// hot path
/** Reads one message body off the bytes: by length, chunked (RFC 9112 7.1, errata 7633: CRLF only), or until close. */
import { Verdict } from "./errors.ts";
import { MAX_HEAD_BYTES, TOKEN, VALUE } from "./header-block.ts";
import { CHUNKED, UNTIL_CLOSE } from "./request-head.ts";

const MAX_SIZE_DIGITS = 13; // 52 bits: stays exact in a Number
const MAX_EXTENSION_BYTES = 16 * 1024;
/** A chunk up to this is moved next to the one before it, so that a read of small chunks is one piece of content. */
const MAX_MOVED_BYTES = 4096;

const State = {
  Length: 0,
  UntilClose: 1,
  Size: 2,
  ExtensionName: 3,
  ExtensionValue: 4,
  ExtensionQuoted: 5,
  ExtensionEscape: 6,
  ExtensionEnd: 7,
  SizeLf: 8,
  Data: 9,
  DataCr: 10,
  DataLf: 11,
  TrailerStart: 12,
  TrailerName: 13,
  TrailerValue: 14,
  TrailerLf: 15,
  EndLf: 16,
} as const;
type State = (typeof State)[keyof typeof State];

export class BodyReader {
  done = true;
  verdict: Verdict = Verdict.Ok;
  /** The piece of content that the last `next` found; empty if equal. */
  dataStart = 0;
  dataEnd = 0;
  #state: State = State.Length;
  #left = 0;
  #digits = 0;
  #extensionBytes = 0;
  #wordBytes = 0;
  #trailerBytes = 0;

  begin(length: number): void {
    this.verdict = Verdict.Ok;
    this.done = length === 0;
    this.#state = length === CHUNKED ? State.Size : length === UNTIL_CLOSE ? State.UntilClose : State.Length;
    this.#left = Math.max(length, 0);
    this.#digits = 0;
    this.#extensionBytes = 0;
    this.#wordBytes = 0;
    this.#trailerBytes = 0;
  }

  get untilClose(): boolean {
    return this.#state === State.UntilClose;
  }

  /**
   * Consumes up to one piece of content from `bytes` at `at`; returns the offset it stopped at. Small chunks that stand
   * in the same bytes are moved together in place: else a 64 KiB read of one-byte chunks would be 30,000 writes.
   */
  next(bytes: Buffer, at: number): number {
    this.dataStart = 0;
    this.dataEnd = 0;
    const end = bytes.length;
    while (at < end && !this.done) {
      const c = bytes[at]!;
      switch (this.#state) {
        case State.UntilClose:
          this.dataStart = at;
          this.dataEnd = end;
          return end;
        case State.Length: {
          const take = Math.min(this.#left, end - at);
          this.dataStart = at;
          this.dataEnd = at + take;
          this.#left -= take;
          if (this.#left === 0) this.done = true;
          return at + take;
        }
        case State.Data: {
          const take = Math.min(this.#left, end - at);
          if (this.dataEnd === this.dataStart) {
            this.dataStart = at;
            this.dataEnd = at + take;
          } else {
            if (take > MAX_MOVED_BYTES) return at;
            bytes.copyWithin(this.dataEnd, at, at + take);
            this.dataEnd += take;
          }
          this.#left -= take;
          at += take;
          if (this.#left === 0) this.#state = State.DataCr;
          continue;
        }
        case State.Size: {
          const digit = hexDigit(c);
          if (digit >= 0) {
            if (++this.#digits > MAX_SIZE_DIGITS) return this.#fail(at);
            this.#left = this.#left * 16 + digit;
          } else if (this.#digits === 0) {
            return this.#fail(at);
          } else if (c === 13) {
            this.#state = State.SizeLf;
          } else if (c === 59) {
            this.#state = State.ExtensionName;
            this.#wordBytes = 0;
          } else {
            return this.#fail(at);
          }
          break;
        }
        // Extensions are read by their grammar, without bad whitespace, and dropped (RFC 9112 7.1.1).
        case State.ExtensionName:
        case State.ExtensionValue:
          if (TOKEN[c] !== 0) this.#wordBytes++;
          else if (c === 34 && this.#wordBytes === 0 && this.#state === State.ExtensionValue)
            this.#state = State.ExtensionQuoted;
          else if (this.#wordBytes === 0) return this.#fail(at);
          else if (c === 61 && this.#state === State.ExtensionName) {
            this.#state = State.ExtensionValue;
            this.#wordBytes = 0;
          } else if (!this.#afterExtension(c)) return this.#fail(at);
          break;
        case State.ExtensionQuoted:
          if (c === 34) this.#state = State.ExtensionEnd;
          else if (c === 92) this.#state = State.ExtensionEscape;
          else if (VALUE[c] === 0) return this.#fail(at);
          break;
        case State.ExtensionEscape:
          if (VALUE[c] === 0) return this.#fail(at);
          this.#state = State.ExtensionQuoted;
          break;
        case State.ExtensionEnd:
          if (!this.#afterExtension(c)) return this.#fail(at);
          break;
        case State.SizeLf:
          if (c !== 10) return this.#fail(at);
          this.#digits = 0;
          this.#state = this.#left === 0 ? State.TrailerStart : State.Data;
          break;
        case State.DataCr:
          if (c !== 13) return this.#fail(at);
          this.#state = State.DataLf;
          break;
        case State.DataLf:
          if (c !== 10) return this.#fail(at);
          this.#state = State.Size;
          break;
        // Trailers are checked and dropped: they never become headers (RFC 9110 6.5.1), as in Envoy by default.
        case State.TrailerStart:
          if (c === 13) this.#state = State.EndLf;
          else if (TOKEN[c] !== 0) this.#state = State.TrailerName;
          else return this.#fail(at);
          break;
        case State.TrailerName:
          if (c === 58) this.#state = State.TrailerValue;
          else if (TOKEN[c] === 0) return this.#fail(at);
          break;
        case State.TrailerValue:
          if (c === 13) this.#state = State.TrailerLf;
          else if (VALUE[c] === 0) return this.#fail(at);
          break;
        case State.TrailerLf:
          if (c !== 10) return this.#fail(at);
          this.#state = State.TrailerStart;
          break;
        case State.EndLf:
          if (c !== 10) return this.#fail(at);
          this.done = true;
          break;
      }
      if (this.#state >= State.TrailerStart) {
        if (++this.#trailerBytes > MAX_HEAD_BYTES) return this.#fail(at);
      } else if (this.#state >= State.ExtensionName && this.#state <= State.ExtensionEnd) {
        if (++this.#extensionBytes > MAX_EXTENSION_BYTES) return this.#fail(at);
      }
      at++;
    }
    return at;
  }

  #afterExtension(c: number): boolean {
    if (c !== 59 && c !== 13) return false;
    this.#state = c === 13 ? State.SizeLf : State.ExtensionName;
    this.#wordBytes = 0;
    return true;
  }

  #fail(at: number): number {
    this.verdict = Verdict.BadChunk;
    return at;
  }
}

function hexDigit(c: number): number {
  if (c >= 48 && c <= 57) return c - 48;
  const lower = c | 32;
  return lower >= 97 && lower <= 102 ? lower - 87 : -1;
}
