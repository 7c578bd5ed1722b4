/**
 * A narrow door to node-forge's ASN.1: Buffers in and out, and DER only. forge also reads BER (indefinite
 * lengths, padded integers); here whatever does not encode back to the same bytes is refused, which in turn makes
 * `encode(node)` the original bytes of any part, as signatures need.
 */
import forge from "node-forge";

const { asn1 } = forge;
export type Node = forge.asn1.Asn1;
export const Tag = asn1.Type;

export function decode(der: Buffer): Node {
  const node = asn1.fromDer(forge.util.createBuffer(der.toString("latin1")), {
    strict: true,
    parseAllBytes: true,
    // An ECDSA signature is itself DER inside a BIT STRING: decoded, its bytes would be lost.
    decodeBitStrings: false,
  } as unknown as boolean);
  if (!encode(node).equals(der)) throw new Error("the bytes are BER but not DER");
  return node;
}

export function encode(node: Node): Buffer {
  return Buffer.from(asn1.toDer(node).getBytes(), "latin1");
}

const universal = (type: forge.asn1.Type, constructed: boolean, value: string | Node[]): Node =>
  asn1.create(asn1.Class.UNIVERSAL, type, constructed, value);

export const sequence = (...items: Node[]): Node => universal(Tag.SEQUENCE, true, items);
export const set = (...items: Node[]): Node => universal(Tag.SET, true, items);
export const oid = (dotted: string): Node => universal(Tag.OID, false, asn1.oidToDer(dotted).getBytes());
export const boolean = (value: boolean): Node => universal(Tag.BOOLEAN, false, value ? "\xff" : "\x00");
export const utf8 = (text: string): Node => universal(Tag.UTF8, false, Buffer.from(text).toString("latin1"));
export const octets = (bytes: Buffer): Node => universal(Tag.OCTETSTRING, false, bytes.toString("latin1"));
export const bits = (bytes: Buffer, unused = 0): Node =>
  universal(Tag.BITSTRING, false, String.fromCharCode(unused) + bytes.toString("latin1"));

/** A non-negative INTEGER from big-endian bytes. */
export function integer(bytes: Buffer): Node {
  let start = 0;
  while (start < bytes.length - 1 && bytes[start] === 0) start++;
  const trimmed = bytes.subarray(start);
  return universal(
    Tag.INTEGER,
    false,
    (trimmed[0]! & 0x80 ? "\x00" : "") + Buffer.from(trimmed).toString("latin1"),
  );
}

/** Context tag `[n]`: constructed around nodes, or primitive over bytes. */
export const context = (n: number, value: Node[] | Buffer): Node =>
  asn1.create(
    asn1.Class.CONTEXT_SPECIFIC,
    n as forge.asn1.Type,
    Array.isArray(value),
    Array.isArray(value) ? value : value.toString("latin1"),
  );

/** RFC 5280 4.1.2.5: UTCTime through 2049, GeneralizedTime after. */
export function time(ms: number): Node {
  const date = new Date(ms);
  return date.getUTCFullYear() < 2050
    ? universal(Tag.UTCTIME, false, asn1.dateToUtcTime(date) as string)
    : universal(Tag.GENERALIZEDTIME, false, asn1.dateToGeneralizedTime(date) as string);
}

export const isContext = (node: Node | undefined, n: number): node is Node =>
  node !== undefined && node.tagClass === asn1.Class.CONTEXT_SPECIFIC && (node.type as number) === n;

export function children(node: Node | undefined, what: string): Node[] {
  if (node === undefined || !Array.isArray(node.value))
    throw new Error(`${what} is missing or not a structure`);
  return node.value;
}

export function bytesOf(node: Node | undefined, what: string): Buffer {
  if (node === undefined || typeof node.value !== "string")
    throw new Error(`${what} is missing or not a plain value`);
  return Buffer.from(node.value, "latin1");
}

export function expectType(node: Node | undefined, type: forge.asn1.Type, what: string): Node {
  if (node === undefined || node.tagClass !== asn1.Class.UNIVERSAL || node.type !== type)
    throw new Error(`${what} is missing or of another type`);
  return node;
}

export function oidOf(node: Node | undefined, what: string): string {
  const bytes = bytesOf(expectType(node, Tag.OID, what), what);
  return asn1.derToOid(forge.util.createBuffer(bytes.toString("latin1")));
}

/** The bytes of a BIT STRING whose length is a whole number of bytes. */
export function wholeBits(node: Node | undefined, what: string): Buffer {
  const bytes = bytesOf(expectType(node, Tag.BITSTRING, what), what);
  if (bytes[0] !== 0) throw new Error(`${what} does not end on a byte`);
  return bytes.subarray(1);
}
