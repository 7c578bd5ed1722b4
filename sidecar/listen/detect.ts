import type { Socket } from "node:net";
import { type Clock, systemClock } from "#lib/clock.ts";
import { type ClientHello, HelloParser, HelloResult } from "./client-hello.ts";

/** What was learnt from the first bytes; all of them are back in the socket afterwards. */
export interface Detected {
  readonly transport: "tls" | "raw_buffer";
  /** TLS: the client's own ALPN list. Plain: what the bytes are, in Envoy's names, or none. */
  readonly applicationProtocols: readonly string[];
  readonly serverName: string;
  /** The timeout passed before enough bytes came (a server-first protocol, usually). */
  readonly timedOut: boolean;
}

export interface DetectOptions {
  readonly tls: boolean;
  readonly http: boolean;
  /** 0 waits for ever, as Istio's protocolDetectionTimeout does. */
  readonly timeoutMs: number;
  readonly clock?: Clock;
}

const NOTHING: Detected = {
  transport: "raw_buffer",
  applicationProtocols: [],
  serverName: "",
  timedOut: false,
};
const H2_PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1");
/** A request line above this is not waited for: what http1/ takes (a target of 16 KiB) is below. */
const LONGEST_REQUEST_LINE = 17 * 1024;
const LONGEST_METHOD = 64;

/**
 * Peeks until the protocol is known, the timeout passes, or the peer is done. Calls back exactly once, unless the
 * socket dies first: then `onGone`. The bytes are unshifted, so whoever reads next sees the stream from its start.
 */
export function detect(
  socket: Socket,
  options: DetectOptions,
  onDetected: (detected: Detected) => void,
  onGone: () => void,
): void {
  if (!options.tls && !options.http) {
    onDetected(NOTHING);
    return;
  }
  const parser = new HelloParser();
  const clock = options.clock ?? systemClock;
  let seen: Buffer = Buffer.alloc(0);
  let cancel: (() => void) | null = null;

  const finish = (detected: Detected): void => {
    socket.off("readable", onReadable);
    socket.off("end", onEnd);
    socket.off("close", onClose);
    socket.off("error", onClose);
    cancel?.();
    if (seen.length > 0) socket.unshift(seen);
    onDetected(detected);
  };
  const onClose = (): void => {
    cancel?.();
    socket.off("readable", onReadable);
    socket.off("end", onEnd);
    socket.off("close", onClose);
    onGone();
  };
  const onReadable = (): void => {
    const chunk = socket.read() as Buffer | null;
    if (chunk === null) {
      // The end is reached, but "end" is not emitted yet: the last moment at which bytes can be given back. Too little
      // to tell is neither TLS nor HTTP, and what was sent before a half-close is still owed to the application.
      if (seen.length > 0) finish(NOTHING);
      return;
    }
    seen = seen.length === 0 ? chunk : Buffer.concat([seen, chunk]);
    const verdict = inspect(seen, parser, options);
    if (verdict !== null) finish(verdict);
  };
  const onEnd = (): void => {
    // The peer half-closed without a byte.
    onClose();
    socket.destroy();
  };
  socket.on("readable", onReadable);
  socket.on("end", onEnd);
  socket.on("close", onClose);
  // The handler stays until "close": a reset between detection and the next owner must not be uncaught.
  socket.on("error", noop);
  if (options.timeoutMs > 0)
    cancel = clock.after(options.timeoutMs, () => finish({ ...NOTHING, timedOut: true }));
  if (socket.readableLength > 0) onReadable();
}

function noop(): void {}

/** The verdict on the bytes so far, or null for "not enough". */
export function inspect(bytes: Buffer, parser: HelloParser, options: DetectOptions): Detected | null {
  if (options.tls) {
    const result = parser.read(bytes);
    if (result === HelloResult.More) return null;
    if (result === HelloResult.Tls) return tlsFacts(parser.hello!);
  }
  if (!options.http) return NOTHING;
  const protocol = httpProtocol(bytes);
  if (protocol === null) return null;
  return protocol === "" ? NOTHING : { ...NOTHING, applicationProtocols: [protocol] };
}

function tlsFacts(hello: ClientHello): Detected {
  return { transport: "tls", applicationProtocols: hello.alpn, serverName: hello.sni, timedOut: false };
}

/** "http/1.0", "http/1.1", "h2c", "" for anything else, null for "not yet". */
export function httpProtocol(bytes: Buffer): string | null {
  const prefix = Math.min(bytes.length, H2_PREFACE.length);
  if (bytes.compare(H2_PREFACE, 0, prefix, 0, prefix) === 0)
    return prefix === H2_PREFACE.length ? "h2c" : null;
  let at = 0;
  while (at < bytes.length && (bytes[at] === 13 || bytes[at] === 10) && at < 4) at++;
  const start = at;
  while (at < bytes.length && isToken(bytes[at]!)) at++;
  if (at - start > LONGEST_METHOD) return "";
  if (at === bytes.length) return null;
  if (at === start || bytes[at] !== 0x20) return "";
  const eol = bytes.indexOf(10, at);
  if (eol < 0 ? bytes.length > LONGEST_REQUEST_LINE : eol >= LONGEST_REQUEST_LINE) return "";
  if (eol < 0) return null;
  const line = bytes.toString("latin1", at, eol);
  const match = / HTTP\/1\.([01])\r?$/.exec(line);
  if (match === null) return "";
  return match[1] === "1" ? "http/1.1" : "http/1.0";
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
