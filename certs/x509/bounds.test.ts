/** What a peer that is not authenticated can make long, and where it ends. Counted, not timed. */
import { randomBytes, X509Certificate } from "node:crypto";
import { afterEach, expect, test, vi } from "vitest";
import {
  certificate,
  ecKeys,
  extension,
  type Keys,
  oneNameOneKey,
  rsaKeys,
} from "#test/harness/certificates.ts";
import * as der from "./der.ts";
import { buildLeaf, buildRoot, validateSvid } from "./index.ts";
import { MAX_CHAIN_CERTIFICATES, MAX_SIGNATURES } from "./limits.ts";

const ID = "spiffe://cluster.local/ns/a/sa/b";
const meshKeys = ecKeys();
const day = { notBefore: Date.now() - 1000, notAfter: Date.now() + 86_400_000 };
const mesh = buildRoot(meshKeys.privateKey, "cluster.local", day);
const check = (chain: Buffer[], roots: Buffer[] = [mesh]) => validateSvid(chain, roots, "cluster.local");
const ca = (subject: string, keys: Keys, issuer: string, signer: Keys, pathLength?: number): Buffer =>
  certificate({
    subject,
    keys,
    issuer,
    signer,
    isCa: true,
    ...(pathLength === undefined ? {} : { pathLength }),
  });
const leafOf = (issuer: string, signer: Keys): Buffer =>
  certificate({ issuer, keys: ecKeys(), signer, isCa: false, names: [ID] });

afterEach(() => void vi.restoreAllMocks());
const countSignatures = () => vi.spyOn(X509Certificate.prototype, "verify");

test("nine CA certificates of one name and one key: a few signatures, and unknown", () => {
  const verify = countSignatures();
  expect(check(oneNameOneKey(ecKeys(), 9, ID))).toMatchObject({ reason: "unknown_ca" });
  expect(verify.mock.calls.length).toBeLessThanOrEqual(MAX_SIGNATURES);
});

test("signatures that do not hold are counted too, those of roots as well", () => {
  const keys = ecKeys();
  const strangers = Array.from({ length: 5 }, () => ecKeys());
  const chain = [
    ...oneNameOneKey(keys, 4, ID),
    ...strangers.map((stranger) => ca("one", stranger, "one", stranger)),
  ];
  const verify = countSignatures();
  expect(check(chain)).toMatchObject({ reason: "malformed", error: expect.stringContaining("signatures") });
  expect(verify).toHaveBeenCalledTimes(MAX_SIGNATURES);
  verify.mockClear();
  const roots = Array.from({ length: 40 }, () => ecKeys()).map((root) => ca("one", root, "one", root));
  expect(check([leafOf("one", keys)], roots)).toMatchObject({ error: expect.stringContaining("signatures") });
  expect(verify).toHaveBeenCalledTimes(MAX_SIGNATURES);
});

test("forty roots of one name: the key identifier finds the right one at once", () => {
  const roots = Array.from({ length: 40 }, () => ecKeys()).map((keys) => ({
    keys,
    der: buildRoot(keys.privateKey, "cluster.local", day),
  }));
  const last = roots.at(-1)!;
  const leaf = buildLeaf(
    { der: last.der, key: last.keys.privateKey },
    { spki: ecKeys().spki, spiffeId: ID, ...day },
  );
  const verify = countSignatures();
  expect(
    check(
      [leaf],
      roots.map((root) => root.der),
    ),
  ).toMatchObject({ spiffeId: ID });
  expect(verify).toHaveBeenCalledTimes(1);
});

test("cross-signed in a circle: the way to the root is found in every order of the certificates", () => {
  const [a, b, c] = [ecKeys(), ecKeys(), ecKeys()];
  const parts = [
    ca("a", a, "b", b),
    ca("b", b, "a", a),
    ca("b", b, "c", c),
    ca("c", c, "b", b),
    ca("c", c, "root", meshKeys),
  ];
  const root = ca("root", meshKeys, "root", meshKeys);
  const leaf = leafOf("a", a);
  for (const order of orders(parts)) expect(check([leaf, ...order], [root])).toMatchObject({ spiffeId: ID });
  expect(check([leaf, ...parts.slice(0, 4)], [root])).toMatchObject({ reason: "unknown_ca" });
});

test("pathLenConstraint counts along the shortest way", () => {
  const [a, b] = [ecKeys(), ecKeys()];
  const root = ca("root", meshKeys, "root", meshKeys);
  const leaf = leafOf("a", a);
  const shortest = ca("a", a, "root", meshKeys, 0);
  expect(check([leaf, ca("a", a, "b", b), ca("b", b, "root", meshKeys, 0), shortest], [root])).toMatchObject({
    spiffeId: ID,
  });
  expect(check([leaf, ca("a", a, "b", b), ca("b", b, "root", meshKeys, 0)], [root])).toMatchObject({
    reason: "bad_usage",
  });
});

test("a key that is too large is not verified with", () => {
  const keys = rsaKeys(2048);
  const huge = { privateKey: keys.privateKey, spki: rsaSpki(randomBytes(1024)) };
  const verify = countSignatures();
  expect(check([leafOf("huge", huge), ca("huge", huge, "huge", huge)])).toMatchObject({
    reason: "unknown_ca",
  });
  expect(verify).not.toHaveBeenCalled();
});

const rsaSpki = (modulus: Buffer): Buffer => {
  modulus[0]! |= 0x80;
  modulus[modulus.length - 1]! |= 1;
  const numbers = der.sequence(der.integer(modulus), der.integer(Buffer.from([1, 0, 1])));
  const algorithm = der.sequence(der.oid("1.2.840.113549.1.1.1"), der.decode(Buffer.from([5, 0])));
  return der.encode(der.sequence(algorithm, der.bits(der.encode(numbers))));
};

const many = (count: number, node: der.Node): der.Node =>
  der.sequence(...Array.from({ length: count }, () => node));
const deep = (levels: number): der.Node => (levels === 0 ? der.sequence() : der.sequence(deep(levels - 1)));
const withExtension = (value: der.Node, id = "1.2.3.4"): Buffer =>
  certificate({
    issuer: "x",
    keys: meshKeys,
    signer: meshKeys,
    isCa: false,
    names: [ID],
    extensions: [extension(id, false, value)],
  });
test.each<[string, () => Buffer[], RegExp]>([
  ["more certificates", () => oneNameOneKey(meshKeys, MAX_CHAIN_CERTIFICATES, ID), /more than 10/],
  ["more bytes", () => Array(5).fill(withExtension(der.octets(Buffer.alloc(8000)))), /bytes; the limit/],
  ["a large certificate", () => [withExtension(der.octets(Buffer.alloc(17_000)))], /17\d+ bytes/],
  [
    "thousands of names",
    () => [
      certificate({
        issuer: "x",
        keys: meshKeys,
        signer: meshKeys,
        isCa: false,
        names: Array(1000).fill("spiffe://a/b"),
      }),
    ],
    /1000 names/,
  ],
  [
    "thousands of purposes",
    () => [withExtension(many(1000, der.oid("1.2.3")), "2.5.29.37")],
    /1000 purposes/,
  ],
  [
    "many extensions",
    () => [
      certificate({
        issuer: "x",
        keys: meshKeys,
        signer: meshKeys,
        isCa: false,
        names: [ID],
        extensions: Array.from({ length: 40 }, (_, i) => extension(`1.2.3.${i}`, false, der.sequence())),
      }),
    ],
    /extensions/,
  ],
  ["a wide structure", () => [withExtension(many(2000, der.boolean(true)), "2.5.29.19")], /more than 1024/],
  ["a deep structure", () => [withExtension(deep(200), "2.5.29.19")], /more than 16 deep/],
  [
    "a deep structure in itself",
    () => [Buffer.concat([Buffer.alloc(8000, Buffer.from([0x30, 0x80])), Buffer.alloc(8000)])],
    /tag or a length/,
  ],
])("refused: %s", (_name, chain, message) => {
  expect(check(chain())).toMatchObject({ reason: "malformed", error: expect.stringMatching(message) });
});

function orders<T>(items: readonly T[]): T[][] {
  if (items.length === 0) return [[]];
  return items.flatMap((item, i) =>
    orders([...items.slice(0, i), ...items.slice(i + 1)]).map((rest) => [item, ...rest]),
  );
}
