import { execFileSync } from "node:child_process";
import { createHash, generateKeyPairSync } from "node:crypto";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { TestClock } from "#lib/clock.ts";
import { noOpenssl } from "#test/harness/openssl.ts";
import { fromPem, readCertificate, validateSvid } from "../x509/index.ts";
import { Authority } from "./index.ts";

let base: string;
let dir: string;
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), "weft-ca-"));
  dir = join(base, "ca");
});
afterEach(() => rmSync(base, { recursive: true, force: true }));

const newSpki = (): Buffer =>
  generateKeyPairSync("ec", { namedCurve: "prime256v1" }).publicKey.export({ format: "der", type: "spki" });
const ID = "spiffe://cluster.local/ns/default/sa/reviews";

test.skipIf(noOpenssl())("openssl verifies what we issue, and reads the SVID's shape", () => {
  const ca = Authority.open(dir, "cluster.local");
  const { chain } = ca.issue(newSpki(), ID, 3600);
  const leaf = join(base, "leaf.pem");
  writeFileSync(leaf, chain[0]!);
  const verified = execFileSync(
    "openssl",
    ["verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", join(dir, "root-cert.pem"), leaf],
    { encoding: "utf8" },
  );
  expect(verified).toContain("OK");
  const text = execFileSync("openssl", ["x509", "-in", leaf, "-noout", "-text"], { encoding: "utf8" });
  expect(text).toMatch(/Subject: *\n/);
  expect(text).toMatch(
    /Subject Alternative Name: critical\s+URI:spiffe:\/\/cluster.local\/ns\/default\/sa\/reviews/,
  );
  expect(text).toMatch(/Key Usage: critical\s+Digital Signature\n/);
  expect(text).toContain("TLS Web Server Authentication, TLS Web Client Authentication");
});

test("a new root is made once, files are private, and a restart opens the same one", () => {
  const first = Authority.open(dir, "cluster.local");
  expect(first.created).toBe(true);
  expect(statSync(dir).mode & 0o777).toBe(0o700);
  expect(statSync(join(dir, "root-key.pem")).mode & 0o777).toBe(0o600);
  expect(readdirSync(base)).toEqual(["ca", "ca.sha256"]);
  const second = Authority.open(dir, "cluster.local");
  expect(second.created).toBe(false);
  expect(second.rootPem).toBe(first.rootPem);
});

test("an empty directory counts as new", () => {
  mkdirSync(dir);
  expect(Authority.open(dir, "cluster.local").created).toBe(true);
});

const damages: [string, RegExp, () => void][] = [
  [
    "truncated key",
    /root-key.pem is corrupt/,
    () => writeFileSync(join(dir, "root-key.pem"), "-----BEGIN PRIV"),
  ],
  ["empty key", /root-key.pem is corrupt/, () => writeFileSync(join(dir, "root-key.pem"), "")],
  ["corrupt certificate", /root-cert.pem is corrupt/, () => writeFileSync(join(dir, "root-cert.pem"), "x")],
  ["missing key", /has no root-key.pem/, () => rmSync(join(dir, "root-key.pem"))],
  ["missing certificate", /has no root-cert.pem/, () => rmSync(join(dir, "root-cert.pem"))],
  ["group-readable key", /open to others/, () => chmodSync(join(dir, "root-key.pem"), 0o640)],
  ["world-readable directory", /open to others/, () => chmodSync(dir, 0o705)],
  [
    "key of another CA",
    /not the key of/,
    () => {
      Authority.open(join(base, "other"), "cluster.local");
      writeFileSync(join(dir, "root-key.pem"), readFileSync(join(base, "other", "root-key.pem")));
    },
  ],
];
test.each(damages)("refuses to start, and touches nothing, on: %s", (_name, message, damage) => {
  Authority.open(dir, "cluster.local");
  damage();
  const hash = (): string =>
    readdirSync(dir)
      .map(
        (f) =>
          f +
          createHash("sha256")
            .update(readFileSync(join(dir, f)))
            .digest("hex"),
      )
      .join();
  const before = hash();
  expect(() => Authority.open(dir, "cluster.local")).toThrow(message);
  expect(hash()).toBe(before);
});

test("a CA that is gone, or another one in its place, is not quietly replaced", () => {
  const { rootPem } = Authority.open(dir, "cluster.local");
  renameSync(dir, `${dir}-away`);
  expect(() => Authority.open(dir, "cluster.local")).toThrow(/is gone, but its mark .* remove the mark/);
  expect(existsSync(dir)).toBe(false);
  Authority.open(join(base, "other"), "cluster.local");
  renameSync(join(base, "other"), dir);
  expect(() => Authority.open(dir, "cluster.local")).toThrow(/another root than the mesh began with/);
  rmSync(dir, { recursive: true });
  renameSync(`${dir}-away`, dir);
  expect(Authority.open(dir, "cluster.local").rootPem).toBe(rootPem);
});

test("refuses a root of another trust domain and an expired one", () => {
  const clock = new TestClock();
  Authority.open(dir, "cluster.local", clock);
  expect(() => Authority.open(dir, "other.org", clock)).toThrow(/belongs to spiffe:\/\/cluster.local/);
  clock.advance(11 * 365 * 86_400_000);
  expect(() => Authority.open(dir, "cluster.local", clock)).toThrow(/expired/);
});

test("a place that cannot be written fails closed and leaves nothing", () => {
  writeFileSync(join(base, "file"), "");
  expect(() => Authority.open(join(base, "file", "ca"), "cluster.local")).toThrow();
  expect(readdirSync(base)).toEqual(["file"]);
});

test("leaves: backdated, unique serials, never outliving the root, never for others", () => {
  const clock = new TestClock();
  const ca = Authority.open(dir, "cluster.local", clock);
  const spki = newSpki();
  const serials = new Set<string>();
  for (let i = 0; i < 200; i++) {
    const leaf = readCertificate(fromPem("CERTIFICATE", ca.issue(spki, ID, 60).chain[0]!)[0]!);
    expect(leaf.x509.serialNumber).toHaveLength(32);
    serials.add(leaf.x509.serialNumber);
    expect(leaf.notBefore).toBe(clock.now() - 120_000);
  }
  expect(serials.size).toBe(200);
  clock.advance(10 * 365 * 86_400_000 - 5000);
  const late = ca.issue(spki, ID, 86_400);
  const [leaf, root] = late.chain.map((pem) => fromPem("CERTIFICATE", pem)[0]!) as [Buffer, Buffer];
  expect(readCertificate(leaf).notAfter).toBe(readCertificate(root).notAfter);
  expect(validateSvid([leaf], [root], "cluster.local", clock.now())).toMatchObject({ spiffeId: ID });
  for (const bad of [
    "spiffe://other.org/ns/a/sa/b",
    "spiffe://cluster.local",
    "spiffe://cluster.local/ns/../x",
  ])
    expect(() => ca.issue(spki, bad, 60)).toThrow();
  for (const ttl of [0, -1, Number.NaN]) expect(() => ca.issue(spki, ID, ttl)).toThrow(/not positive/);
});
