// hot path
/** A request head: request line, target and Host rules (RFC 9112 3), framing (RFC 9112 6). One per connection, reused. */
import type { HeadView } from "../snapshot.ts";
import { Verdict } from "./errors.ts";
import { isAuthority, MAX_TARGET_BYTES, TARGET } from "./head-syntax.ts";
import {
  Field,
  HeaderBlock,
  hasToken,
  MAX_CONNECTION_OPTIONS,
  MAX_HEAD_BYTES,
  TOKEN,
} from "./header-block.ts";

const MAX_METHOD_BYTES = 64;
const MAX_EMPTY_LINES = 2;
/** Empty lines, method, target and version. */
const MAX_REQUEST_LINE_BYTES = MAX_TARGET_BYTES + MAX_METHOD_BYTES + 16;

/** Body length of a message whose framing is chunked, and of a response that ends with the connection. */
export const CHUNKED = -1;
export const UNTIL_CLOSE = -2;

/** Fields a client may not have stripped by naming them in Connection: 400, as Envoy's sanitizeConnectionHeader. */
const PROTECTED = [
  "host",
  "x-forwarded-for",
  "x-forwarded-host",
  "x-forwarded-proto",
  "x-forwarded-client-cert",
];
/** Naming these has no effect: they belong to the mesh or to the message, not to the hop. */
const NOT_HOP = [
  "authorization",
  "cookie",
  "content-length",
  "transfer-encoding",
  "x-request-id",
  "traceparent",
  "tracestate",
];

export class RequestHead extends HeaderBlock implements HeadView {
  method = "";
  /** Origin-form with query, without fragment; "*" for OPTIONS *; "" for CONNECT. Filters may rewrite it. */
  path = "";
  authority = "";
  /** 0 or 1: HTTP/1.x. */
  minor = 1;
  /** Body bytes, or CHUNKED. */
  length = 0;
  hasLength = false;
  keepAlive = true;
  expectsContinue = false;
  /** The Upgrade field if this is a valid upgrade request (GET, 1.1, named in Connection), else "". */
  upgrade = "";
  trailersAccepted = false;
  #lines = 0;
  #empty = 0;
  #absolute = false;

  reset(start: number): void {
    this.resetBlock(start);
    this.method = "";
    this.path = "";
    this.authority = "";
    this.minor = 1;
    this.length = 0;
    this.hasLength = false;
    this.keepAlive = true;
    this.expectsContinue = false;
    this.upgrade = "";
    this.trailersAccepted = false;
    this.#lines = 0;
    this.#empty = 0;
    this.#absolute = false;
  }

  /** Reads on from where it stopped; `bytes` must begin with what was given before. */
  parse(bytes: Buffer): Verdict {
    this.bytes = bytes;
    for (;;) {
      const end = this.lineEnd(bytes);
      if (end === -1) return this.#unfinished(bytes);
      if (end === -2) return this.#atFault(bytes, this.fault);
      const line = this.next;
      if (end + 2 - this.start > (this.#lines === 0 ? MAX_REQUEST_LINE_BYTES : MAX_HEAD_BYTES))
        return this.#atFault(bytes, Math.min(end + 2, this.bareCr(bytes, end)));
      if (end === line) {
        this.next = end + 2;
        if (this.#lines === 1) {
          this.end = end + 2;
          return this.#finish();
        }
        if (++this.#empty > MAX_EMPTY_LINES) return Verdict.BadRequestLine;
        continue;
      }
      const verdict =
        this.#lines === 0 ? this.#requestLine(bytes, line, end) : this.scanField(bytes, line, end);
      if (verdict !== Verdict.Ok) {
        const bare = this.bareCr(bytes, end);
        return bare === Number.POSITIVE_INFINITY ? verdict : this.#atFault(bytes, bare);
      }
      this.#lines = 1;
      this.next = end + 2;
    }
  }

  /** What never can be a request line is not waited for: a ClientHello has no line end. */
  #unfinished(bytes: Buffer): Verdict {
    const size = bytes.length - this.start;
    if (this.#lines === 0) {
      if (this.next < bytes.length && !startsLine(bytes[this.next]!)) return Verdict.BadRequestLine;
      if (size > MAX_REQUEST_LINE_BYTES) return this.#atFault(bytes, bytes.length);
    }
    return size > MAX_HEAD_BYTES ? Verdict.HeadTooLarge : Verdict.NeedMore;
  }

  /**
   * The verdict on a line that is bad once `fault` bytes are known. A limit that was passed before that decides
   * instead, so that the same bytes meet the same answer however they are split.
   */
  #atFault(bytes: Buffer, fault: number): Verdict {
    if (this.#lines === 1)
      return fault - this.start > MAX_HEAD_BYTES ? Verdict.HeadTooLarge : Verdict.BadHeader;
    if (fault - this.start <= MAX_REQUEST_LINE_BYTES || !startsLine(bytes[this.next]!))
      return Verdict.BadRequestLine;
    const space = bytes.indexOf(32, this.next);
    return space === -1 || space - this.start > MAX_METHOD_BYTES + 4
      ? Verdict.BadRequestLine
      : Verdict.TargetTooLong;
  }

  #requestLine(bytes: Buffer, start: number, end: number): Verdict {
    let at = start;
    while (at < end && TOKEN[bytes[at]!] !== 0) at++;
    if (at === start || bytes[at] !== 32 || at - start > MAX_METHOD_BYTES) return Verdict.BadRequestLine;
    const target = at + 1;
    let targetEnd = target;
    while (targetEnd < end && TARGET[bytes[targetEnd]!] === 1) targetEnd++;
    if (targetEnd === target || bytes[targetEnd] !== 32) return Verdict.BadRequestLine;
    if (targetEnd - target > MAX_TARGET_BYTES) return Verdict.TargetTooLong;
    const version = targetEnd + 1;
    if (end - version !== 8 || bytes.toString("latin1", version, version + 7) !== "HTTP/1.") {
      // The HTTP/2 preface is no request of another version: it is another protocol.
      if (bytes.toString("latin1", start, version) === "PRI * ") return Verdict.BadRequestLine;
      const space = bytes.indexOf(32, version);
      return bytes.toString("latin1", version, Math.min(end, version + 5)) === "HTTP/" &&
        (space === -1 || space > end)
        ? Verdict.BadVersion
        : Verdict.BadRequestLine;
    }
    this.minor = bytes[version + 7]! - 48;
    if (this.minor !== 0 && this.minor !== 1) return Verdict.BadVersion;
    this.method =
      at - start === 3 && bytes[start] === 71 && bytes[start + 1] === 69 && bytes[start + 2] === 84
        ? "GET"
        : bytes.toString("latin1", start, at);
    return this.#target(bytes.toString("latin1", target, targetEnd));
  }

  /** RFC 9112 3.2: origin-form, absolute-form (http and https only), authority-form with CONNECT, "*" with OPTIONS. */
  #target(target: string): Verdict {
    if (this.method === "CONNECT") {
      if (this.minor === 0 || !isAuthority(target) || !hasPort(target)) return Verdict.BadRequestLine;
      this.authority = target;
      this.#absolute = true;
      return Verdict.Ok;
    }
    if (target.charCodeAt(0) === 47) {
      this.path = withoutFragment(target);
      return Verdict.Ok;
    }
    if (target === "*") {
      this.path = target;
      return this.method === "OPTIONS" ? Verdict.Ok : Verdict.BadRequestLine;
    }
    const scheme = target.slice(0, 8).toLowerCase();
    const from = scheme === "https://" ? 8 : scheme.startsWith("http://") ? 7 : 0;
    if (from === 0) return Verdict.BadRequestLine;
    let end = from;
    while (end < target.length && target[end] !== "/" && target[end] !== "?") end++;
    this.authority = target.slice(from, end);
    if (!isAuthority(this.authority)) return Verdict.BadHost;
    this.#absolute = true;
    const rest = withoutFragment(target.slice(end));
    this.path = rest.charCodeAt(0) === 47 ? rest : `/${rest}`;
    return Verdict.Ok;
  }

  #finish(): Verdict {
    let hosts = 0;
    let codings = 0;
    let connection: string | null = null;
    let upgrade = "";
    let hops = 0;
    for (let i = 0; i < this.count; i++) {
      switch (this.kind(i)) {
        case Field.Host: {
          const host = this.value(i);
          if (++hosts > 1 || !isAuthority(host)) return Verdict.BadHost;
          if (this.#absolute) this.erase(i);
          else this.authority = host;
          break;
        }
        case Field.ContentLength: {
          if (this.hasLength) return Verdict.BadFraming;
          this.hasLength = true;
          this.length = this.lengthValue(i);
          if (this.length < 0) return Verdict.BadFraming;
          break;
        }
        case Field.TransferEncoding: {
          if (++codings > 1) return Verdict.BadFraming;
          const coding = this.value(i).toLowerCase();
          if (coding === "chunked") break;
          return isCodingList(coding) ? Verdict.UnknownTransferCoding : Verdict.BadFraming;
        }
        case Field.Connection:
          connection = connection === null ? this.value(i) : `${connection},${this.value(i)}`;
          hops++;
          break;
        case Field.Upgrade:
          upgrade = upgrade === "" ? this.value(i) : `${upgrade},${this.value(i)}`;
          hops++;
          break;
        case Field.Expect:
          if (this.value(i).toLowerCase() !== "100-continue" || this.expectsContinue)
            return Verdict.BadExpect;
          this.expectsContinue = this.minor === 1;
          hops++;
          break;
        case Field.Te:
          if (hasToken(this.value(i), "trailers")) this.trailersAccepted = true;
          hops++;
          break;
        case Field.HopByHop:
          hops++;
          break;
      }
    }
    if (codings > 0) {
      if (this.hasLength || this.minor === 0) return Verdict.BadFraming;
      this.length = CHUNKED;
    }
    if (hosts === 0 && this.minor === 1) return Verdict.BadHost;
    if (this.method === "CONNECT" && (this.hasLength || codings > 0)) return Verdict.BadFraming;
    this.keepAlive = this.minor === 1;
    const verdict = connection === null ? Verdict.Ok : this.#connection(connection, upgrade);
    if (hops > 0) this.#eraseHops();
    return verdict;
  }

  /** What ends at this hop, nobody behind it sees: no route, no policy. Of an upgrade its two fields stay. */
  #eraseHops(): void {
    for (let i = 0; i < this.count; i++) {
      const kind = this.kind(i);
      if (kind === Field.HopByHop || kind === Field.Expect) this.erase(i);
      else if (kind === Field.Te && !equalsIgnoreCase(this.value(i), "trailers")) this.erase(i);
      else if ((kind === Field.Connection || kind === Field.Upgrade) && this.upgrade === "") this.erase(i);
    }
  }

  #connection(connection: string, upgrade: string): Verdict {
    if (equalsIgnoreCase(connection, "keep-alive")) {
      this.keepAlive = true;
      return Verdict.Ok;
    }
    let from = 0;
    let options = 0;
    let close = false;
    while (from <= connection.length) {
      if (++options > MAX_CONNECTION_OPTIONS) return Verdict.BadConnectionHeader;
      let comma = connection.indexOf(",", from);
      if (comma === -1) comma = connection.length;
      const name = connection.slice(from, comma).trim().toLowerCase();
      from = comma + 1;
      if (name === "") continue;
      if (name === "keep-alive") {
        this.keepAlive = !close;
      } else if (name === "close") {
        close = true;
        this.keepAlive = false;
      } else if (name === "upgrade") {
        if (
          this.minor === 1 &&
          this.method === "GET" &&
          this.length === 0 &&
          !equalsIgnoreCase(upgrade, "h2c") &&
          (this.get("sec-websocket-version") ?? "13") === "13"
        )
          this.upgrade = upgrade;
      } else {
        if (PROTECTED.includes(name) || name.charCodeAt(0) === 58) return Verdict.BadConnectionHeader;
        if (NOT_HOP.includes(name)) continue;
        this.eraseNominated(name);
      }
    }
    return Verdict.Ok;
  }
}

function startsLine(c: number): boolean {
  return TOKEN[c] !== 0 || c === 13;
}

/** @param lower lower case */
export function equalsIgnoreCase(text: string, lower: string): boolean {
  return text.length === lower.length && text.toLowerCase() === lower;
}

function withoutFragment(target: string): string {
  const hash = target.indexOf("#");
  return hash === -1 ? target : target.slice(0, hash);
}

/** A list of transfer codings without chunked in a wrong place; such a list is "not implemented", the rest is malformed. */
function isCodingList(list: string): boolean {
  if (list === "") return false;
  for (let i = 0; i < list.length; i++) {
    const c = list.charCodeAt(i);
    if (TOKEN[c & 255] === 0 && c !== 44 && c !== 32 && c !== 9 && c !== 59 && c !== 61 && c !== 34)
      return false;
    if (c > 126) return false;
  }
  const first = list.indexOf("chunked");
  if (first === -1) return true;
  return first === list.lastIndexOf("chunked") && list.endsWith("chunked");
}

function hasPort(authority: string): boolean {
  const colon = authority.lastIndexOf(":");
  return colon > 0 && colon < authority.length - 1 && authority.indexOf("]", colon) === -1;
}
