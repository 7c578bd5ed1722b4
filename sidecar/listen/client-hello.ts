/** What a ClientHello says before any key exists (RFC 8446 4.1.2, RFC 6066 3, RFC 7301 3.1). */
export interface ClientHello {
  /** Lower case, "" when absent. Only a plausible DNS name is taken. */
  readonly sni: string;
  readonly alpn: readonly string[];
}

export const HelloResult = { More: 0, Tls: 1, NotTls: 2 } as const;
export type HelloResult = (typeof HelloResult)[keyof typeof HelloResult];

const RECORD_HANDSHAKE = 0x16;
const HANDSHAKE_CLIENT_HELLO = 1;
/** A hello above this is an attack or a mistake (Envoy's tls_inspector allows 16 KiB). */
const LARGEST_HELLO_BYTES = 16 * 1024;

/** With the header of its record; more, however cut into records, is not waited for. */
const LARGEST_BYTES = LARGEST_HELLO_BYTES + 5;

/** One connection's; goes on where it stopped, so that a hello in tiny records costs what its bytes weigh. */
export class HelloParser {
  hello: ClientHello | null = null;
  /** The handshake message out of whole records. */
  readonly #parts: Buffer[] = [];
  #have = 0;
  /** Where the next record begins. */
  #at = 0;

  /** Looks at all bytes so far; never consumes. `bytes` must begin with what was given before. */
  read(bytes: Buffer): HelloResult {
    for (;;) {
      const at = this.#at;
      if (bytes.length > at && bytes[at] !== RECORD_HANDSHAKE) return HelloResult.NotTls;
      if (bytes.length > at + 1 && bytes[at + 1] !== 3) return HelloResult.NotTls;
      if (bytes.length < at + 5) return HelloResult.More;
      const size = bytes.readUInt16BE(at + 3);
      // Empty handshake records are forbidden (RFC 8446 5.1) and would let a peer send records for ever.
      if (size === 0 || at + 5 + size > LARGEST_BYTES) return HelloResult.NotTls;
      if (at === 0 && bytes.length > 5 && bytes[5] !== HANDSHAKE_CLIENT_HELLO) return HelloResult.NotTls;
      if (bytes.length < at + 5 + size) return HelloResult.More;
      this.#parts.push(Buffer.from(bytes.subarray(at + 5, at + 5 + size)));
      this.#have += size;
      this.#at = at + 5 + size;
      if (this.#have < 4) continue;
      const wanted = 4 + this.#byte(1) * 65536 + this.#byte(2) * 256 + this.#byte(3);
      if (wanted > LARGEST_HELLO_BYTES) return HelloResult.NotTls;
      if (this.#have < wanted) continue;
      this.hello = parseHello(Buffer.concat(this.#parts).subarray(4, wanted));
      return this.hello === null ? HelloResult.NotTls : HelloResult.Tls;
    }
  }

  #byte(index: number): number {
    let left = index;
    for (const part of this.#parts) {
      if (left < part.length) return part[left]!;
      left -= part.length;
    }
    return 0;
  }
}

function parseHello(b: Buffer): ClientHello | null {
  let at = 34; // version + random
  if (b.length < at + 1) return null;
  at += 1 + b[at]!; // session id
  if (b.length < at + 2) return null;
  at += 2 + b.readUInt16BE(at); // cipher suites
  if (b.length < at + 1) return null;
  at += 1 + b[at]!; // compression
  let sni = "";
  let alpn: string[] = [];
  if (at === b.length) return { sni, alpn };
  if (b.length < at + 2) return null;
  const end = at + 2 + b.readUInt16BE(at);
  if (end !== b.length) return null;
  at += 2;
  const seen = new Set<number>();
  while (at + 4 <= end) {
    const type = b.readUInt16BE(at);
    const size = b.readUInt16BE(at + 2);
    if (at + 4 + size > end) return null;
    // RFC 8446 4.2: at most one of each; two SNIs are how one parser is shown another name than the next.
    if ((type === 0 || type === 16) && seen.has(type)) return null;
    seen.add(type);
    const data = b.subarray(at + 4, at + 4 + size);
    if (type === 0) {
      const name = parseServerName(data);
      if (name === null) return null;
      sni = name;
    } else if (type === 16) {
      const list = parseAlpn(data);
      if (list === null) return null;
      alpn = list;
    }
    at += 4 + size;
  }
  return at === end ? { sni, alpn } : null;
}

function parseServerName(data: Buffer): string | null {
  if (data.length < 5 || data.readUInt16BE(0) !== data.length - 2 || data[2] !== 0) return null;
  // One name only, as RFC 6066 3 demands for a type.
  if (data.readUInt16BE(3) !== data.length - 5) return null;
  const name = data.toString("latin1", 5).toLowerCase();
  return /^[a-z0-9._-]{1,255}$/.test(name) ? name : null;
}

function parseAlpn(data: Buffer): string[] | null {
  if (data.length < 2 || data.readUInt16BE(0) !== data.length - 2) return null;
  const list: string[] = [];
  for (let at = 2; at < data.length; ) {
    const size = data[at]!;
    if (size === 0 || at + 1 + size > data.length) return null;
    list.push(data.toString("latin1", at + 1, at + 1 + size));
    at += 1 + size;
  }
  return list;
}
