/** Certificates of any shape, also such as no CA would make: for tests of what a peer may send. */
import { generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import * as der from "#certs/x509/der.ts";

export interface Keys {
  readonly privateKey: KeyObject;
  /** DER of the SubjectPublicKeyInfo. */
  readonly spki: Buffer;
}

export interface Shape {
  readonly issuer: string;
  /** None: an empty subject, as SVIDs have. */
  readonly subject?: string;
  readonly keys: Keys;
  readonly signer: Keys;
  readonly isCa: boolean;
  /** URI names. */
  readonly names?: readonly string[];
  readonly dnsNames?: readonly string[];
  readonly pathLength?: number;
  readonly extensions?: readonly der.Node[];
}

const HOUR = 3_600_000;
const SHA256 = { ec: "1.2.840.10045.4.3.2", rsa: "1.2.840.113549.1.1.11" } as const;
const NULL = der.decode(Buffer.from([5, 0]));
let serial = 0;

export function ecKeys(namedCurve = "prime256v1"): Keys {
  const pair = generateKeyPairSync("ec", { namedCurve });
  return { privateKey: pair.privateKey, spki: pair.publicKey.export({ format: "der", type: "spki" }) };
}
export function rsaKeys(modulusLength: number): Keys {
  const pair = generateKeyPairSync("rsa", { modulusLength });
  return { privateKey: pair.privateKey, spki: pair.publicKey.export({ format: "der", type: "spki" }) };
}

export const extension = (id: string, critical: boolean, value: der.Node): der.Node =>
  der.sequence(der.oid(id), ...(critical ? [der.boolean(true)] : []), der.octets(der.encode(value)));
const named = (name: string | undefined): der.Node =>
  name === undefined
    ? der.sequence()
    : der.sequence(der.set(der.sequence(der.oid("2.5.4.3"), der.utf8(name))));

/** DER of a certificate that is valid for a day, signed with SHA-256. */
export function certificate(shape: Shape): Buffer {
  const kind = shape.signer.privateKey.asymmetricKeyType as "ec" | "rsa";
  const algorithm = der.sequence(der.oid(SHA256[kind]), ...(kind === "rsa" ? [NULL] : []));
  const { pathLength, names = [], dnsNames = [] } = shape;
  serial++;
  const body = der.sequence(
    der.context(0, [der.integer(Buffer.from([2]))]),
    der.integer(Buffer.from([1, (serial >> 8) & 0xff, serial & 0xff])),
    algorithm,
    named(shape.issuer),
    der.sequence(der.time(Date.now() - HOUR), der.time(Date.now() + 24 * HOUR)),
    named(shape.subject),
    der.decode(shape.keys.spki),
    der.context(3, [
      der.sequence(
        ...(shape.isCa
          ? [
              extension(
                "2.5.29.19",
                true,
                der.sequence(
                  der.boolean(true),
                  ...(pathLength === undefined ? [] : [der.integer(Buffer.from([pathLength]))]),
                ),
              ),
            ]
          : []),
        extension(
          "2.5.29.15",
          true,
          shape.isCa ? der.bits(Buffer.from([6]), 1) : der.bits(Buffer.from([0x80]), 7),
        ),
        ...(names.length + dnsNames.length === 0
          ? []
          : [
              extension(
                "2.5.29.17",
                true,
                der.sequence(
                  ...names.map((name) => der.context(6, Buffer.from(name))),
                  ...dnsNames.map((name) => der.context(2, Buffer.from(name))),
                ),
              ),
            ]),
        ...(shape.extensions ?? []),
      ),
    ]),
  );
  return der.encode(
    der.sequence(body, algorithm, der.bits(sign("sha256", der.encode(body), shape.signer.privateKey))),
  );
}

/** A leaf and `count` CA certificates, all of one name and one key: each issued each, and none leads anywhere. */
export function oneNameOneKey(keys: Keys, count: number, spiffeId: string): Buffer[] {
  const shape = { issuer: "one", keys, signer: keys };
  return [
    certificate({ ...shape, isCa: false, names: [spiffeId] }),
    ...Array.from({ length: count }, () => certificate({ ...shape, subject: "one", isCa: true })),
  ];
}
