import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Server, ServerCredentials, status } from "@grpc/grpc-js";
import { SignJWT } from "jose";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Authority } from "#certs/authority/index.ts";
import { buildCsr, fromPem, validateSvid } from "#certs/x509/index.ts";
import { addCaService, createAuthenticate } from "#control-plane/ca/index.ts";
import { createLogger } from "#lib/log.ts";
import { createCaClient } from "#sidecar/control-plane/ca-client.ts";

const keys = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
const other = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
const workload = generateKeyPairSync("ec", { namedCurve: "prime256v1" }).privateKey;
let dir: string;
let server: Server;
let root: Buffer;
beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), "weft-cas-"));
  const authority = Authority.open(join(dir, "ca"), "cluster.local");
  root = fromPem("CERTIFICATE", authority.rootPem)[0]!;
  server = new Server();
  addCaService(server, {
    authority,
    authenticate: createAuthenticate({
      publicKeyPem: keys.publicKey.export({ format: "pem", type: "spki" }) as string,
      trustDomain: "cluster.local",
    }),
    defaultTtlSeconds: 86_400,
    log: createLogger("test", "silent"),
  });
  await new Promise<void>((resolve, reject) =>
    server.bindAsync(`unix:${join(dir, "xds.sock")}`, ServerCredentials.createInsecure(), (problem) =>
      problem ? reject(problem) : resolve(),
    ),
  );
});
afterAll(() => {
  server.forceShutdown();
  rmSync(dir, { recursive: true, force: true });
});

interface TokenParts {
  key?: KeyObject;
  audience?: string;
  subject?: string;
  expires?: string | null;
  claims?: Record<string, unknown>;
}
async function token(parts: TokenParts = {}): Promise<string> {
  const jwt = new SignJWT(parts.claims ?? {})
    .setProtectedHeader({ alg: "ES256" })
    .setAudience(parts.audience ?? "istio-ca")
    .setSubject(parts.subject ?? "system:serviceaccount:default:reviews");
  if (parts.expires !== null) jwt.setExpirationTime(parts.expires ?? "1h");
  return jwt.sign(parts.key ?? keys.privateKey);
}
async function call(bearer: string | null, csr: string, ttl = 3600): Promise<string[]> {
  const file = join(dir, "token");
  if (bearer !== null) writeFileSync(file, bearer);
  const client = createCaClient({
    address: `unix:${join(dir, "xds.sock")}`,
    tokenFile: bearer === null ? null : file,
    rootCert: null,
  });
  try {
    return await client.sign(csr, ttl);
  } finally {
    client.close();
  }
}

test("the identity is the token's, whatever the CSR asks for", async () => {
  const chain = await call(
    await token(),
    buildCsr(workload, "spiffe://cluster.local/ns/istio-system/sa/admin"),
  );
  const [leaf] = chain.flatMap((pem) => fromPem("CERTIFICATE", pem));
  const result = validateSvid([leaf!], [root], "cluster.local");
  expect(result).toMatchObject({ spiffeId: "spiffe://cluster.local/ns/default/sa/reviews" });
});

test.each([
  [0, 86_400],
  [-1, 86_400],
  [60, 60],
])("a lifetime of %d asked gives %d s", async (asked, given) => {
  const chain = await call(await token(), buildCsr(workload), asked);
  const result = validateSvid(fromPem("CERTIFICATE", chain[0]!), [root], "cluster.local");
  const left = ("notAfter" in result ? result.notAfter : 0) - Date.now();
  expect(left).toBeLessThanOrEqual(given * 1000);
  expect(left).toBeGreaterThan(given * 1000 - 30_000);
});

test.each<[string, TokenParts | null]>([
  ["no token", null],
  ["another key", { key: other.privateKey }],
  ["another audience", { audience: "kubernetes" }],
  ["expired", { expires: "-1s" }],
  ["never expiring", { expires: null }],
  ["no service account", { subject: "system:node:x" }],
  ["a path in the name", { subject: "system:serviceaccount:default:a/../b" }],
  ["claims of another account", { claims: { "kubernetes.io": { serviceaccount: { name: "admin" } } } }],
])("UNAUTHENTICATED, and nothing told: %s", async (_name, parts) => {
  const refused = call(parts === null ? null : await token(parts), buildCsr(workload));
  await expect(refused).rejects.toMatchObject({
    code: status.UNAUTHENTICATED,
    details: "authentication failed",
  });
});

test("INVALID_ARGUMENT for a bad CSR and for a lifetime above the limit", async () => {
  const code = { code: status.INVALID_ARGUMENT };
  await expect(call(await token(), "x")).rejects.toMatchObject(code);
  await expect(call(await token(), buildCsr(workload), 91 * 86_400)).rejects.toMatchObject(code);
});

test("one identity's flood is refused while another is served", async () => {
  const flood = await token({ subject: "system:serviceaccount:default:flood" });
  const csr = buildCsr(workload);
  const answers = await Promise.allSettled(Array.from({ length: 400 }, () => call(flood, csr)));
  const refused = answers.filter((a) => a.status === "rejected");
  expect(refused.length).toBeGreaterThan(0);
  for (const r of refused) expect(r.reason).toMatchObject({ code: status.RESOURCE_EXHAUSTED });
  expect(await call(await token(), csr)).toHaveLength(2);
});
