/**
 * A narrow door to node-forge's ASN.1: Buffers in and out, and DER only. forge also reads BER (indefinite
 * lengths, padded integers); here whatever does not encode back to the same bytes is refused, which in turn makes
 * `encode(node)` the original bytes of any part, as signatures need.
 */
import forge from "node-forge";
import { MAX_ASN1_DEPTH, MAX_ASN1_ELEMENTS } from "./limits.ts";

const { asn1 } = forge;
export type Node = forge.asn1.Asn1;
export const Tag = asn1.Type;

/** Throws on what is not DER to the last byte, and on more elements or depth than limits.ts allows. */
export function decode(der: Buffer): Node {
  checkExtent(der);
  const node = asn1.fromDer(forge.util.createBuffer(der.toString("latin1")), {
    strict: true,
    parseAllBytes: true,
    // An ECDSA signature is itself DER inside a BIT STRING: decoded, its bytes would be lost.
    decodeBitStrings: false,
  } as unknown as boolean);
  if (!encode(node).equals(der)) throw new Error("the bytes are BER but not DER");
  return node;
}

/**
 * Walks the tags and lengths alone, before forge builds an object for each: bounds how many there are and how deep.
 * What is no DER in itself is left to forge and to the comparison above.
 */
function checkExtent(der: Buffer): void {
  const ends: number[] = [];
  let elements = 0;
  let at = 0;
  while (at < der.length) {
    while (ends.length > 0 && at >= ends[ends.length - 1]!) ends.pop();
    if (++elements > MAX_ASN1_ELEMENTS)
      throw new Error(`the ASN.1 has more than ${MAX_ASN1_ELEMENTS} elements`);
    const tag = der[at++]!;
    let length = der[at++] ?? 0;
    if (length > 0x84 || length === 0x80 || (tag & 0x1f) === 0x1f)
      throw new Error("the ASN.1 has a tag or a length that certificates have not");
    if (length > 0x80) {
      const bytes = length - 0x80;
      if (at + bytes > der.length) throw new Error("the ASN.1 ends too early");
      length = der.readUIntBE(at, bytes);
      at += bytes;
    }
    if (at + length > (ends.at(-1) ?? der.length)) throw new Error("the ASN.1 ends too early");
    if ((tag & 0x20) === 0) at += length;
    else if (ends.push(at + length) > MAX_ASN1_DEPTH)
      throw new Error(`the ASN.1 nests more than ${MAX_ASN1_DEPTH} deep`);
  }
}

/** The original bytes, for a node that `decode` gave. */
export function encode(node: Node): Buffer {
  return Buffer.from(asn1.toDer(node).getBytes(), "latin1");
}

const universal = (type: forge.asn1.Type, constructed: boolean, value: string | Node[]): Node =>
  asn1.create(asn1.Class.UNIVERSAL, type, constructed, value);

export const sequence = (...items: Node[]): Node => universal(Tag.SEQUENCE, true, items);
export const set = (...items: Node[]): Node => universal(Tag.SET, true, items);
/** From dotted decimal, as "2.5.29.17". */
export const oid = (dotted: string): Node => universal(Tag.OID, false, asn1.oidToDer(dotted).getBytes());
export const boolean = (value: boolean): Node => universal(Tag.BOOLEAN, false, value ? "\xff" : "\x00");
/** UTF8String. */
export const utf8 = (text: string): Node => universal(Tag.UTF8, false, Buffer.from(text).toString("latin1"));
/** OCTET STRING. */
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

/** Whether it has the context tag `[n]`. */
export const isContext = (node: Node | undefined, n: number): node is Node =>
  node !== undefined && node.tagClass === asn1.Class.CONTEXT_SPECIFIC && (node.type as number) === n;

/** Throws unless the node is constructed; `what` names it in the error, here and below. */
export function children(node: Node | undefined, what: string): Node[] {
  if (node === undefined || !Array.isArray(node.value))
    throw new Error(`${what} is missing or not a structure`);
  return node.value;
}

/** The content of a primitive node; throws on a constructed one. */
export function bytesOf(node: Node | undefined, what: string): Buffer {
  if (node === undefined || typeof node.value !== "string")
    throw new Error(`${what} is missing or not a plain value`);
  return Buffer.from(node.value, "latin1");
}

/** DER knows one TRUE (0xff) and one FALSE (0x00): anything else is read differently by different libraries. */
export function booleanOf(node: Node | undefined, what: string): boolean {
  const bytes = bytesOf(expectType(node, Tag.BOOLEAN, what), what);
  if (bytes.length !== 1 || (bytes[0] !== 0xff && bytes[0] !== 0))
    throw new Error(`${what} is no DER boolean`);
  return bytes[0] === 0xff;
}

/** The node, if it has this universal tag; else throws. */
export function expectType(node: Node | undefined, type: forge.asn1.Type, what: string): Node {
  if (node === undefined || node.tagClass !== asn1.Class.UNIVERSAL || node.type !== type)
    throw new Error(`${what} is missing or of another type`);
  return node;
}

/** Dotted decimal; throws unless the node is an OBJECT IDENTIFIER. */
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
