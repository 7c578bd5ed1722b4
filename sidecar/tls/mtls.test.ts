import { execFile } from "node:child_process";
import { generateKeyPairSync, type KeyObject, X509Certificate } from "node:crypto";
import { once } from "node:events";
import { createServer, type Server } from "node:net";
import type { TLSSocket } from "node:tls";
import { afterEach, expect, test, vi } from "vitest";
import { buildLeaf, buildRoot, toPem } from "#certs/x509/index.ts";
import { ecKeys, oneNameOneKey } from "#test/harness/certificates.ts";
import { noOpenssl } from "#test/harness/openssl.ts";
import { detect } from "../listen/detect.ts";
import { http1Only } from "./alpn.ts";
import { acceptTls, type DownstreamTlsOptions } from "./downstream.ts";
import type { TlsSecret } from "./secrets.ts";
import { startTls } from "./upstream.ts";

const HOUR = 3_600_000;
const SERVER = "spiffe://cluster.local/ns/default/sa/server";
const CLIENT = "spiffe://cluster.local/ns/default/sa/client";

function key(): KeyObject {
  return generateKeyPairSync("ec", { namedCurve: "prime256v1" }).privateKey;
}
function root(trustDomain = "cluster.local") {
  const signer = key();
  const validity = { notBefore: Date.now() - HOUR, notAfter: Date.now() + 24 * HOUR };
  return { key: signer, der: buildRoot(signer, trustDomain, validity) };
}
function secret(ca: ReturnType<typeof root>, spiffeId: string, notAfter = Date.now() + HOUR): TlsSecret {
  const pair = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  const spki = pair.publicKey.export({ format: "der", type: "spki" });
  const leaf = buildLeaf(ca, { spki, spiffeId, notBefore: Date.now() - 2 * HOUR, notAfter });
  return {
    keyPem: pair.privateKey.export({ format: "pem", type: "pkcs8" }) as string,
    chainPem: toPem("CERTIFICATE", leaf),
    rootsPem: toPem("CERTIFICATE", ca.der),
    roots: [ca.der],
  };
}
const exact = (text: string) => ({ text, matches: (v: string) => v === text });
const tls = {
  minVersion: "TLSv1.2",
  maxVersion: "TLSv1.3",
  cipherSuites: [],
  handshakeTimeoutMs: 5000,
  identity: { trustDomains: ["cluster.local"], names: [] },
} as const;
const down: DownstreamTlsOptions = {
  ...tls,
  requireClientCertificate: true,
  alpnProtocols: ["h2", "http/1.1"],
};

let server: Server;
afterEach(() => server?.close());

async function serve(own: TlsSecret | null, results: string[]): Promise<number> {
  server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => {});
    detect(
      socket,
      { tls: true, http: true, timeoutMs: 0 },
      (seen) =>
        acceptTls(
          socket,
          own,
          seen.applicationProtocols,
          down,
          (secured, id) => {
            results.push(`${id} ${secured.alpnProtocol}`);
            secured.pipe(secured);
          },
          (failure) => results.push(failure.reason),
        ),
      () => {},
    );
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  return (server.address() as { port: number }).port;
}

function dial(port: number, own: TlsSecret, wanted: string): Promise<TLSSocket | string> {
  return new Promise((resolve) => {
    const options = {
      ...tls,
      identity: { trustDomains: ["cluster.local"], names: [exact(wanted)] },
      sni: "outbound_.80_._.server.default.svc.cluster.local",
      alpnProtocols: ["istio-http/1.1", "istio", "http/1.1"],
    };
    startTls({ host: "127.0.0.1", port }, own, options, resolve, (failure) => resolve(failure.reason));
  });
}

test("both sides prove themselves over a sniffed socket, and bytes flow", async () => {
  const ca = root();
  const results: string[] = [];
  const port = await serve(secret(ca, SERVER), results);
  const secured = (await dial(port, secret(ca, CLIENT), SERVER)) as TLSSocket;
  secured.write("ping");
  expect(String((await once(secured, "data"))[0])).toBe("ping");
  expect(results).toEqual([`${CLIENT} http/1.1`]);
  secured.destroy();
});

test("what http1/ does not speak is neither offered nor agreed on", () => {
  expect(http1Only(["h2", "http/1.1"])).toEqual(["http/1.1"]);
  expect(http1Only(["istio-h2", "istio", "h2"])).toEqual(["istio-http/1.1", "istio", "http/1.1"]);
});

test("secure naming: the right CA with another identity is refused", async () => {
  const ca = root();
  const port = await serve(secret(ca, SERVER), []);
  expect(await dial(port, secret(ca, CLIENT), "spiffe://cluster.local/ns/default/sa/other")).toBe(
    "san_mismatch",
  );
});

test.each([
  ["another CA", () => secret(root(), CLIENT), "unknown_ca"],
  [
    "an expired certificate",
    (ca: ReturnType<typeof root>) => secret(ca, CLIENT, Date.now() - 1000),
    "expired",
  ],
  [
    "another trust domain",
    (ca: ReturnType<typeof root>) => secret(ca, "spiffe://bar/ns/a/sa/b"),
    "trust_domain",
  ],
])("the server refuses %s", async (_name, make, reason) => {
  const ca = root();
  const results: string[] = [];
  const port = await serve(secret(ca, SERVER), results);
  const bad = { ...make(ca), roots: [ca.der] };
  const client = await dial(port, bad, SERVER);
  await expect.poll(() => results).toEqual([reason]);
  if (typeof client !== "string") client.destroy();
});

test("a chain made to keep the process busy is refused, by the server and by the client", async () => {
  const keys = ecKeys();
  const hostile: TlsSecret = {
    ...secret(root(), SERVER),
    keyPem: keys.privateKey.export({ format: "pem", type: "pkcs8" }) as string,
    chainPem: oneNameOneKey(keys, 9, SERVER)
      .map((der) => toPem("CERTIFICATE", der))
      .join(""),
  };
  const verify = vi.spyOn(X509Certificate.prototype, "verify");
  const results: string[] = [];
  const ca = root();
  const client = await dial(
    await serve(secret(ca, SERVER), results),
    { ...hostile, roots: [ca.der] },
    SERVER,
  );
  await expect.poll(() => results).toEqual(["unknown_ca"]);
  if (typeof client !== "string") client.destroy();
  server.close();
  expect(await dial(await serve(hostile, []), secret(ca, CLIENT), SERVER)).toBe("unknown_ca");
  expect(verify.mock.calls.length).toBeLessThan(30);
});

test("no secret yet: TLS is refused", async () => {
  const results: string[] = [];
  const port = await serve(null, results);
  expect(await dial(port, secret(root(), CLIENT), SERVER)).toBe("handshake");
  expect(results).toEqual(["no_secret"]);
});

test.skipIf(noOpenssl())(
  "openssl without a certificate, and TLS 1.1, get no further than the handshake",
  async () => {
    const results: string[] = [];
    const port = await serve(secret(root(), SERVER), results);
    const sClient = (...args: string[]): Promise<string> =>
      new Promise((resolve) => {
        const child = execFile(
          "openssl",
          ["s_client", "-connect", `127.0.0.1:${port}`, ...args],
          (_e, out, err) => resolve(out + err),
        );
        child.stdin?.end();
      });
    await sClient();
    await expect.poll(() => results).toEqual(["no_certificate"]);
    expect(await sClient("-tls1_1", "-cipher", "ALL:@SECLEVEL=0")).toMatch(/alert|error/i);
    await expect.poll(() => results.length).toBe(2);
  },
);
