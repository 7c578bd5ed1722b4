import type { Socket } from "node:net";
import { type Clock, systemClock } from "#lib/clock.ts";
import { type ClientHello, HelloParser, HelloResult } from "./client-hello.ts";
import { httpProtocol, likelyHttp } from "./http-head.ts";

/** What was learnt from the first bytes; all of them are back in the socket afterwards. */
export interface Detected {
  readonly transport: "tls" | "raw_buffer";
  /** TLS: the client's own ALPN list. Plain: what the bytes are, in Envoy's names, or none. */
  readonly applicationProtocols: readonly string[];
  readonly serverName: string;
  /** The timeout passed before a byte came, or too few to tell (a server-first protocol, usually). */
  readonly timedOut: boolean;
}

export interface DetectOptions {
  readonly tls: boolean;
  readonly http: boolean;
  /** 0 waits for ever. */
  readonly timeoutMs: number;
  readonly clock?: Clock;
}

const NOTHING: Detected = {
  transport: "raw_buffer",
  applicationProtocols: [],
  serverName: "",
  timedOut: false,
};
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
      // The end is reached, but "end" is not emitted yet: the last moment at which bytes can be given back, and what
      // was sent before a half-close is still owed to the application.
      if (seen.length > 0) finish(undecided(seen, options));
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
    cancel = clock.after(options.timeoutMs, () => finish({ ...undecided(seen, options), timedOut: true }));
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

/** When no more is waited for: what began as a request is not let past the rules for HTTP by being slow. */
function undecided(bytes: Buffer, options: DetectOptions): Detected {
  return options.http && likelyHttp(bytes) ? { ...NOTHING, applicationProtocols: ["http/1.1"] } : NOTHING;
}

function tlsFacts(hello: ClientHello): Detected {
  return { transport: "tls", applicationProtocols: hello.alpn, serverName: hello.sni, timedOut: false };
}
