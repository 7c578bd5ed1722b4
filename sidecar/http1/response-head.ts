// hot path
/** A response head from an upstream that is not trusted: any doubt is BadResponse, and the connection goes (RFC 9112 6.3). */
import { Verdict } from "./errors.ts";
import { Field, HeaderBlock, MAX_CONNECTION_OPTIONS, MAX_HEAD_BYTES, parseLength } from "./header-block.ts";
import { CHUNKED, UNTIL_CLOSE } from "./request-head.ts";

export class ResponseHead extends HeaderBlock {
  status = 0;
  reason = "";
  minor = 1;
  /** Body bytes to read from the connection, CHUNKED or UNTIL_CLOSE. */
  length = 0;
  /** Content-Length as announced, or -1; differs from `length` for HEAD and 304. */
  announced = -1;
  keepAlive = true;
  upgrade = "";
  /** How long its sender keeps an idle connection (`Keep-Alive: timeout`, in s); 0 = not said. */
  keepAliveSeconds = 0;
  /** Another response may follow on this connection with nothing left in doubt. */
  reusable = true;
  #lines = 0;
  #options = 0;

  reset(start: number): void {
    this.resetBlock(start);
    this.status = 0;
    this.reason = "";
    this.minor = 1;
    this.length = 0;
    this.announced = -1;
    this.keepAlive = true;
    this.upgrade = "";
    this.keepAliveSeconds = 0;
    this.reusable = true;
    this.#lines = 0;
    this.#options = 0;
  }

  parse(bytes: Buffer, requestMethod: string): Verdict {
    this.bytes = bytes;
    for (;;) {
      const end = this.lineEnd(bytes);
      if (end === -1) {
        return bytes.length - this.start > MAX_HEAD_BYTES ? Verdict.BadResponse : Verdict.NeedMore;
      }
      if (end === -2 || end + 2 - this.start > MAX_HEAD_BYTES) return Verdict.BadResponse;
      const line = this.next;
      this.next = end + 2;
      if (this.#lines === 0) {
        if (!this.#statusLine(bytes, line, end)) return Verdict.BadResponse;
        this.#lines = 1;
      } else if (end === line) {
        this.end = end + 2;
        return this.#finish(requestMethod) ? Verdict.Ok : Verdict.BadResponse;
      } else if (this.scanField(bytes, line, end) !== Verdict.Ok) {
        return Verdict.BadResponse;
      }
    }
  }

  #statusLine(bytes: Buffer, start: number, end: number): boolean {
    if (end - start < 12 || bytes.toString("latin1", start, start + 7) !== "HTTP/1.") return false;
    this.minor = bytes[start + 7]! - 48;
    if ((this.minor !== 0 && this.minor !== 1) || bytes[start + 8] !== 32) return false;
    this.status = parseLength(bytes, start + 9, start + 12);
    if (this.status < 100 || this.status > 599) return false;
    if (end > start + 12 && bytes[start + 12] !== 32) return false;
    for (let i = start + 12; i < end; i++) {
      const c = bytes[i]!;
      if ((c < 32 && c !== 9) || c === 127) return false;
    }
    this.reason =
      this.status === 200 && end - start === 15
        ? "OK"
        : bytes.toString("latin1", Math.min(end, start + 13), end);
    return true;
  }

  #finish(requestMethod: string): boolean {
    let chunked = false;
    this.keepAlive = this.minor === 1;
    for (let i = 0; i < this.count; i++) {
      switch (this.kind(i)) {
        case Field.ContentLength:
          if (this.announced !== -1) return false;
          this.announced = this.lengthValue(i);
          if (this.announced < 0) return false;
          break;
        case Field.TransferEncoding:
          if (chunked || this.minor === 0 || this.value(i).toLowerCase() !== "chunked") return false;
          chunked = true;
          break;
        case Field.Connection:
          if (!this.#connection(this.value(i))) return false;
          break;
        case Field.Upgrade:
          this.upgrade = this.value(i);
          break;
        case Field.HopByHop:
          if (this.nameIs(i, "keep-alive")) this.keepAliveSeconds = timeoutOf(this.value(i));
          this.erase(i);
          break;
      }
    }
    if (chunked && this.announced !== -1) return false;
    if (this.status < 200) return !chunked && this.announced <= 0;
    if (this.status === 204 && (chunked || this.announced > 0)) return false;
    if (this.status === 204 || this.status === 304 || requestMethod === "HEAD") {
      // A body sent all the same may arrive after the head; only a fresh connection keeps it from the next request.
      this.reusable = !chunked && this.announced <= 0;
      this.length = 0;
    } else {
      this.length = chunked ? CHUNKED : this.announced === -1 ? UNTIL_CLOSE : this.announced;
    }
    if (this.length === UNTIL_CLOSE || !this.keepAlive) this.reusable = false;
    return true;
  }

  #connection(value: string): boolean {
    let from = 0;
    while (from <= value.length) {
      if (++this.#options > MAX_CONNECTION_OPTIONS) return false;
      let comma = value.indexOf(",", from);
      if (comma === -1) comma = value.length;
      const name = value.slice(from, comma).trim().toLowerCase();
      from = comma + 1;
      if (name === "close") this.keepAlive = false;
      if (name === "" || name === "close" || name === "keep-alive") continue;
      this.eraseNominated(name);
    }
    return true;
  }
}

/** Of `timeout=5, max=100`, whole seconds; 0 where there is none that makes sense. */
function timeoutOf(value: string): number {
  const at = value.indexOf("timeout=");
  if (at === -1) return 0;
  let seconds = 0;
  for (let i = at + 8; i < value.length && i < at + 14; i++) {
    const digit = value.charCodeAt(i) - 48;
    if (digit < 0 || digit > 9) break;
    seconds = seconds * 10 + digit;
  }
  return seconds;
}
