// hot path
/** Reads one message body off the bytes: by length, chunked (RFC 9112 7.1, errata 7633: CRLF only), or until close. */
import { Verdict } from "./errors.ts";
import { MAX_HEAD_BYTES, TOKEN } from "./header-block.ts";
import { CHUNKED, UNTIL_CLOSE } from "./request-head.ts";

const MAX_SIZE_DIGITS = 13; // 52 bits: stays exact in a Number
const MAX_EXTENSION_BYTES = 16 * 1024;

const State = {
  Length: 0,
  UntilClose: 1,
  Size: 2,
  Extension: 3,
  SizeLf: 4,
  Data: 5,
  DataCr: 6,
  DataLf: 7,
  TrailerStart: 8,
  TrailerName: 9,
  TrailerValue: 10,
  TrailerLf: 11,
  EndLf: 12,
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
  #extensionAt = 0;
  #trailerBytes = 0;

  begin(length: number): void {
    this.verdict = Verdict.Ok;
    this.done = length === 0;
    this.#state = length === CHUNKED ? State.Size : length === UNTIL_CLOSE ? State.UntilClose : State.Length;
    this.#left = Math.max(length, 0);
    this.#digits = 0;
    this.#extensionBytes = 0;
    this.#extensionAt = 0;
    this.#trailerBytes = 0;
  }

  get untilClose(): boolean {
    return this.#state === State.UntilClose;
  }

  /** Consumes up to one piece of content from `bytes` at `at`; returns the offset it stopped at. */
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
        case State.Length:
        case State.Data: {
          const take = Math.min(this.#left, end - at);
          this.dataStart = at;
          this.dataEnd = at + take;
          this.#left -= take;
          if (this.#left === 0) {
            if (this.#state === State.Length) this.done = true;
            else this.#state = State.DataCr;
          }
          return at + take;
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
            this.#state = State.Extension;
            this.#extensionAt = 0;
          } else {
            return this.#fail(at);
          }
          break;
        }
        case State.Extension:
          if (c === 13) {
            if (this.#extensionAt === 0) return this.#fail(at);
            this.#state = State.SizeLf;
            break;
          }
          if ((c < 32 && c !== 9) || c === 127 || ++this.#extensionBytes > MAX_EXTENSION_BYTES) {
            return this.#fail(at);
          }
          if (c === 59 && this.#extensionAt === 0) return this.#fail(at);
          this.#extensionAt++;
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
          else if ((c < 32 && c !== 9) || c === 127) return this.#fail(at);
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
      if (this.#state >= State.TrailerStart && ++this.#trailerBytes > MAX_HEAD_BYTES) return this.#fail(at);
      at++;
    }
    return at;
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
