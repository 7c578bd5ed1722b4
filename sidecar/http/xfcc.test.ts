import { execFileSync } from "node:child_process";
import { createHash, X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { noOpenssl } from "#test/harness/openssl.ts";
import { xfccElement } from "./xfcc.ts";

const NONE = { subject: false, cert: false, chain: false, dns: false, uri: false };
const ALL = { subject: true, cert: true, chain: true, dns: true, uri: true };
const URI = "spiffe://cluster.local/ns/a/sa/b";

function certificate(subject: string, names: string): X509Certificate {
  const folder = mkdtempSync(join(tmpdir(), "weft-xfcc-"));
  const out = join(folder, "cert.pem");
  execFileSync(
    "openssl",
    [
      "req",
      "-x509",
      "-newkey",
      "ec",
      "-pkeyopt",
      "ec_paramgen_curve:prime256v1",
      "-nodes",
      "-days",
      "1",
      "-keyout",
      join(folder, "key.pem"),
      "-out",
      out,
      "-subj",
      subject,
      "-addext",
      `subjectAltName=${names}`,
    ],
    { stdio: "ignore" },
  );
  return new X509Certificate(readFileSync(out));
}

test.skipIf(noOpenssl())("the fields in Envoy's order, each only where it is asked for", () => {
  const peer = certificate('/O=Acme, Inc./CN=say "hi"', `URI:${URI},DNS:a.example,DNS:*.b.example`);
  const hash = createHash("sha256").update(peer.raw).digest("hex");
  const pem = encodeURIComponent(peer.toString());
  expect(xfccElement(peer, "spiffe://me", [URI], NONE)).toBe(`By=spiffe://me;Hash=${hash}`);
  expect(xfccElement(peer, "", [URI], ALL)).toBe(
    `Hash=${hash};Cert="${pem}";Chain="${pem}";Subject="CN=say \\"hi\\",O=Acme\\, Inc.";URI=${URI};DNS=a.example;DNS=*.b.example`,
  );
});

test.skipIf(noOpenssl())("a name that looks like another field is left out", () => {
  const peer = certificate("/CN=x", `URI:${URI},DNS:a;URI=spiffe://evil,DNS:good.example`);
  expect(xfccElement(peer, "", [URI], { ...NONE, dns: true, uri: true })).toMatch(
    /^Hash=[0-9a-f]{64};URI=spiffe:\/\/cluster.local\/ns\/a\/sa\/b;DNS=good.example$/,
  );
});

test("without a certificate there is little to say", () => {
  expect(xfccElement(null, "spiffe://me", [], ALL)).toBe('By=spiffe://me;Subject=""');
});
