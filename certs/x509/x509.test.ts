import { execFileSync } from "node:child_process";
import { ECDH, generateKeyPairSync, sign } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { noOpenssl } from "#test/harness/openssl.ts";
import { parseSpiffeId } from "../spiffe.ts";
import * as der from "./der.ts";
import { buildCsr, buildRoot, fromPem, parseCsr, toPem, validateSvid } from "./index.ts";

const missing = noOpenssl();
let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "weft-x509-"));
  if (missing) return;
  run("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", at("leaf.key"));
  makeCa("root", undefined, "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign");
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const at = (name: string): string => join(dir, name);
const run = (...args: string[]): void => void execFileSync("openssl", args, { stdio: "pipe" });
const derOf = (name: string): Buffer => fromPem("CERTIFICATE", readFileSync(at(`${name}.pem`), "utf8"))[0]!;

function makeCa(
  name: string,
  signer: string | undefined,
  extensions: string,
  subject = `/CN=${name}`,
): Buffer {
  run("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", at(`${name}.key`));
  return certify(name, `${name}.key`, signer, extensions, subject);
}
function certify(
  name: string,
  key: string,
  signer: string | undefined,
  extensions: string,
  subject = "/",
  more: string[] = [],
): Buffer {
  writeFileSync(at(`${name}.ext`), extensions);
  run("req", "-new", "-key", at(key), "-subj", subject, "-out", at(`${name}.csr`));
  const how = signer
    ? ["-CA", at(`${signer}.pem`), "-CAkey", at(`${signer}.key`), "-CAcreateserial"]
    : ["-signkey", at(key)];
  run(
    "x509",
    "-req",
    "-in",
    at(`${name}.csr`),
    ...how,
    "-days",
    "2",
    "-extfile",
    at(`${name}.ext`),
    "-out",
    at(`${name}.pem`),
    ...more,
  );
  return derOf(name);
}

const GOOD = [
  "basicConstraints=critical,CA:FALSE",
  "keyUsage=critical,digitalSignature",
  "extendedKeyUsage=serverAuth,clientAuth",
  "subjectAltName=critical,URI:spiffe://cluster.local/ns/a/sa/b",
];
const withLine = (key: string, line: string | undefined): string =>
  [...GOOD.filter((l) => !l.startsWith(key)), ...(line ? [line] : [])].join("\n");
const check = (chain: Buffer[], domain: string | string[] = "cluster.local", now = Date.now() + 1000) =>
  validateSvid(chain, [derOf("root")], domain, now);

describe.skipIf(missing)("validateSvid", () => {
  test("accepts a good SVID made by openssl, aliases included", () => {
    const leaf = certify("good", "leaf.key", "root", GOOD.join("\n"));
    expect(check([leaf])).toMatchObject({ spiffeId: "spiffe://cluster.local/ns/a/sa/b" });
    expect(check([leaf], ["new.org", "cluster.local"])).toHaveProperty("spiffeId");
    expect(check([leaf], "new.org")).toMatchObject({ reason: "trust_domain" });
    expect(check([leaf], "Cluster.local")).toMatchObject({ reason: "trust_domain" });
    const day = 86_400_000;
    expect(check([leaf], "cluster.local", Date.now() + 3 * day)).toMatchObject({ reason: "expired" });
    expect(check([leaf], "cluster.local", Date.now() - day)).toMatchObject({ reason: "not_yet_valid" });
    expect(validateSvid([leaf], [], "cluster.local")).toMatchObject({ reason: "unknown_ca" });
    expect(check([])).toMatchObject({ reason: "malformed" });
    expect(check([leaf.subarray(0, 100)])).toMatchObject({ reason: "malformed" });
  });

  const uri = "subjectAltName=critical,URI:spiffe://cluster.local";
  test.each<[string, string, string]>([
    ["no SAN", withLine("subjectAltName", undefined), "bad_identity"],
    ["DNS only", withLine("subjectAltName", "subjectAltName=critical,DNS:b.a.svc"), "bad_identity"],
    ["two URIs", withLine("subjectAltName", `${uri}/ns/a/sa/b,URI:https://x`), "bad_identity"],
    ["trust domain only", withLine("subjectAltName", uri), "bad_identity"],
    ["dot segments", withLine("subjectAltName", `${uri}/ns/a/sa/b/../c`), "bad_identity"],
    [
      "upper-case domain",
      withLine("subjectAltName", "subjectAltName=critical,URI:spiffe://Cluster.local/a"),
      "bad_identity",
    ],
    [
      "SAN not critical",
      withLine("subjectAltName", "subjectAltName=URI:spiffe://cluster.local/ns/a/sa/b"),
      "bad_usage",
    ],
    ["CA as leaf", withLine("basicConstraints", "basicConstraints=critical,CA:TRUE"), "bad_usage"],
    ["no keyUsage", withLine("keyUsage", undefined), "bad_usage"],
    ["keyUsage not critical", withLine("keyUsage", "keyUsage=digitalSignature"), "bad_usage"],
    ["no digitalSignature", withLine("keyUsage", "keyUsage=critical,keyAgreement"), "bad_usage"],
    ["keyCertSign", withLine("keyUsage", "keyUsage=critical,digitalSignature,keyCertSign"), "bad_usage"],
    ["cRLSign", withLine("keyUsage", "keyUsage=critical,digitalSignature,cRLSign"), "bad_usage"],
    ["no clientAuth", withLine("extendedKeyUsage", "extendedKeyUsage=serverAuth"), "bad_usage"],
    ["no serverAuth", withLine("extendedKeyUsage", "extendedKeyUsage=clientAuth"), "bad_usage"],
    ["unknown critical", withLine("1.2.3.4", "1.2.3.4=critical,DER:0500"), "bad_usage"],
  ])("refuses: %s", (name, extensions, reason) => {
    const leaf = certify(name.replaceAll(" ", "-"), "leaf.key", "root", extensions);
    expect(check([leaf])).toMatchObject({ reason });
  });

  test("refuses SHA-1, small RSA, self-signed, another root of the same name", () => {
    expect(check([certify("sha1", "leaf.key", "root", GOOD.join("\n"), "/", ["-sha1"])])).toMatchObject({
      reason: "bad_usage",
    });
    run("genrsa", "-out", at("small.key"), "1024");
    expect(check([certify("small", "small.key", "root", GOOD.join("\n"))])).toMatchObject({
      reason: "bad_usage",
    });
    expect(check([certify("self", "leaf.key", undefined, GOOD.join("\n"))])).toMatchObject({
      reason: "unknown_ca",
    });
    makeCa("fake", undefined, "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign", "/CN=root");
    expect(check([certify("byfake", "leaf.key", "fake", GOOD.join("\n"))])).toMatchObject({
      reason: "unknown_ca",
    });
  });

  test("intermediates: any order and extras; missing, leaf as CA, pathLen and workload ids refused", () => {
    const caUsage = "keyUsage=critical,keyCertSign";
    const one = makeCa("one", "root", `basicConstraints=critical,CA:TRUE,pathlen:0\n${caUsage}`);
    const leaf = certify("under-one", "leaf.key", "one", GOOD.join("\n"));
    expect(check([leaf, derOf("root"), one])).toHaveProperty("spiffeId");
    expect(check([leaf])).toMatchObject({ reason: "unknown_ca" });
    const two = makeCa("two", "one", `basicConstraints=critical,CA:TRUE\n${caUsage}`);
    expect(check([certify("under-two", "leaf.key", "two", GOOD.join("\n")), two, one])).toMatchObject({
      reason: "bad_usage",
    });
    const sneaky = makeCa("sneaky", "root", GOOD.join("\n"));
    expect(check([certify("under-leaf", "leaf.key", "sneaky", GOOD.join("\n")), sneaky])).toMatchObject({
      reason: "unknown_ca",
    });
    const named = makeCa(
      "named",
      "root",
      `basicConstraints=critical,CA:TRUE\n${caUsage}\nsubjectAltName=URI:spiffe://cluster.local/x`,
    );
    expect(check([certify("under-named", "leaf.key", "named", GOOD.join("\n")), named])).toMatchObject({
      reason: "bad_identity",
    });
  });
});

describe.skipIf(missing)("parseCsr", () => {
  const ec = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  const rsaCsr = (bits: string): string => {
    run("genrsa", "-out", at(`rsa${bits}.key`), bits);
    run("req", "-new", "-key", at(`rsa${bits}.key`), "-subj", "/CN=admin", "-out", at(`rsa${bits}.csr`));
    return readFileSync(at(`rsa${bits}.csr`), "utf8");
  };
  const ecCsr = (curve: string, ...more: string[]): string => {
    const options = [`ec_paramgen_curve:${curve}`, ...more].flatMap((option) => ["-pkeyopt", option]);
    run("genpkey", "-algorithm", "EC", ...options, "-out", at("ec.key"));
    run("req", "-new", "-key", at("ec.key"), "-subj", "/", "-out", at("ec.csr"));
    return readFileSync(at("ec.csr"), "utf8");
  };
  // OpenSSL writes such a key in uncompressed form again: so the request is put together here.
  const compressedCsr = (): string => {
    const request = der.decode(fromPem("CERTIFICATE REQUEST", buildCsr(ec.privateKey))[0]!);
    const [info, algorithm] = der.children(request, "request");
    const key = der.children(der.children(info, "info")[2], "key");
    const point = ECDH.convertKey(
      der.wholeBits(key[1], "point"),
      "prime256v1",
      undefined,
      undefined,
      "compressed",
    );
    key[1] = der.bits(point as Buffer);
    const signature = sign("sha256", der.encode(info!), ec.privateKey);
    return toPem("CERTIFICATE REQUEST", der.encode(der.sequence(info!, algorithm!, der.bits(signature))));
  };
  const tampered = (): string => {
    const der = fromPem("CERTIFICATE REQUEST", buildCsr(ec.privateKey))[0]!;
    // The last byte of the signature's s value.
    der[der.length - 1]! ^= 1;
    return toPem("CERTIFICATE REQUEST", der);
  };
  test("openssl verifies ours; openssl's RSA 2048 is read", () => {
    writeFileSync(at("ours.csr"), buildCsr(ec.privateKey, "spiffe://cluster.local/ns/a/sa/b"));
    run("req", "-in", at("ours.csr"), "-noout", "-verify");
    const spki = ec.publicKey.export({ format: "der", type: "spki" });
    expect(parseCsr(buildCsr(ec.privateKey)).spki.equals(spki)).toBe(true);
    expect(parseCsr(rsaCsr("2048")).publicKey.asymmetricKeyType).toBe("rsa");
  });
  test.each<[string, () => string, RegExp]>([
    ["RSA 1024", () => rsaCsr("1024"), /1024 bits/],
    ["bad self-signature", tampered, /proof of possession/],
    ["two requests", () => buildCsr(ec.privateKey) + buildCsr(ec.privateKey), /expected one/],
    ["text after", () => `${buildCsr(ec.privateKey)}garbage`, /outside the PEM/],
    [
      "bytes after",
      () =>
        toPem(
          "CERTIFICATE REQUEST",
          Buffer.concat([fromPem("CERTIFICATE REQUEST", buildCsr(ec.privateKey))[0]!, Buffer.from([0])]),
        ),
      /./,
    ],
    ["too large", () => "A".repeat(8193), /limit is 8192/],
    ["empty", () => "", /no PEM block/],
    ["not DER", () => toPem("CERTIFICATE REQUEST", Buffer.from([0x30, 0x80, 0, 0])), /./],
    ["another label", () => toPem("CERTIFICATE", Buffer.from([0x30, 0])), /expected a PEM block/],
    [
      "a curve described by parameters, P-256 though it is",
      () => ecCsr("P-256", "ec_param_enc:explicit"),
      /name it/,
    ],
    ["a point in compressed form", compressedCsr, /uncompressed/],
    ["P-521, which no peer would accept", () => ecCsr("P-521"), /curve 1.3.132.0.35/],
    ["secp256k1", () => ecCsr("secp256k1"), /curve 1.3.132.0.10/],
    [
      "RSA-PSS",
      () => {
        run("genpkey", "-algorithm", "RSA-PSS", "-out", at("pss.key"));
        run("req", "-new", "-key", at("pss.key"), "-subj", "/", "-out", at("pss.csr"));
        return readFileSync(at("pss.csr"), "utf8");
      },
      /./,
    ],
    [
      "Ed25519",
      () => {
        run("genpkey", "-algorithm", "ed25519", "-out", at("ed.key"));
        run("req", "-new", "-key", at("ed.key"), "-subj", "/", "-out", at("ed.csr"));
        return readFileSync(at("ed.csr"), "utf8");
      },
      /not accepted/,
    ],
  ])("refuses: %s", (_name, make, message) => {
    expect(() => parseCsr(make())).toThrow(message);
  });
});

test.skipIf(missing)("roots name their trust domain and pass openssl", () => {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  const now = Date.now();
  writeFileSync(
    at("built.pem"),
    toPem(
      "CERTIFICATE",
      buildRoot(privateKey, "cluster.local", { notBefore: now - 1000, notAfter: now + 1e6 }),
    ),
  );
  run("verify", "-x509_strict", "-CAfile", at("built.pem"), at("built.pem"));
});

test.each(["spiffe://a.b-c_d/x", "spiffe://td", `spiffe://td/${"a".repeat(2036)}`])(
  "SPIFFE ID accepted: %.40s",
  (text) => expect(parseSpiffeId(text)).toHaveProperty("trustDomain"),
);
test.each([
  "https://td/a",
  "SPIFFE://td/a",
  "spiffe:///a",
  "spiffe://td/",
  "spiffe://td/a/",
  "spiffe://td//a",
  "spiffe://td/./a",
  "spiffe://td/a?q",
  "spiffe://td/a#f",
  "spiffe://td:1/a",
  "spiffe://u@td/a",
  "spiffe://TD/a",
  "spiffe://td/%61",
  "spiffe://td/a\0b",
  `spiffe://${"a".repeat(256)}/a`,
  `spiffe://td/${"a".repeat(2037)}`,
  "",
])("SPIFFE ID refused: %.40s", (text) => expect(parseSpiffeId(text)).toHaveProperty("error"));
