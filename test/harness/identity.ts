/** Certificates for tests that speak mTLS themselves: honest ones from the mesh's CA, and others that must be refused. */
import { createPrivateKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { connect, type TLSSocket } from "node:tls";
import { buildLeaf, buildRoot } from "#certs/x509/build.ts";
import { buildCsr, fromPem, toPem } from "#certs/x509/index.ts";
import { createCaClient } from "#sidecar/control-plane/ca-client.ts";
import { type Call, type Reply, replyOf } from "./call.ts";
import type { Mesh } from "./mesh.ts";

export interface Identity {
  readonly certPem: string;
  readonly keyPem: string;
  readonly rootPem: string;
}

const HOUR_MS = 3_600_000;

/** What the CA gives to whoever holds the pod's token. */
export async function certified(mesh: Mesh, pod: string): Promise<Identity> {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  const client = createCaClient({
    address: `unix:${join(mesh.stateDir, "xds.sock")}`,
    tokenFile: join(mesh.stateDir, "pods", pod, "token"),
    rootCert: null,
  });
  const [certPem = "", rootPem = ""] = await client.sign(buildCsr(privateKey), 3600);
  client.close();
  return { certPem, keyPem: pemOf(privateKey), rootPem };
}

export interface Forgery {
  readonly spiffeId: string;
  /** Default: the mesh's own CA, by its key on disk. */
  readonly by?: "mesh" | "stranger";
  readonly notBefore?: number;
  readonly notAfter?: number;
}

/** A leaf that no honest CA would issue so. */
export function forged(mesh: Mesh, { spiffeId, by = "mesh", ...dates }: Forgery): Identity {
  const ca = join(mesh.stateDir, "ca");
  const rootPem = readFileSync(join(ca, "root-cert.pem"), "utf8");
  const { notBefore = Date.now() - HOUR_MS, notAfter = Date.now() + HOUR_MS } = dates;
  let signer = {
    der: fromPem("CERTIFICATE", rootPem)[0]!,
    key: createPrivateKey(readFileSync(join(ca, "root-key.pem"))),
  };
  if (by === "stranger") {
    const { privateKey: key } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
    signer = { der: buildRoot(key, "cluster.local", { notBefore, notAfter }), key };
  }
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  const spki = publicKey.export({ format: "der", type: "spki" });
  const leaf = buildLeaf(signer, { spki, spiffeId, notBefore, notAfter });
  return { certPem: toPem("CERTIFICATE", leaf), keyPem: pemOf(privateKey), rootPem };
}

function pemOf(key: KeyObject): string {
  return key.export({ format: "pem", type: "pkcs8" }) as string;
}

/** For programs that take files. */
export function asFiles(identity: Identity, dir: string): { cert: string; key: string; root: string } {
  const files = { cert: join(dir, "cert.pem"), key: join(dir, "key.pem"), root: join(dir, "root.pem") };
  writeFileSync(files.cert, identity.certPem);
  writeFileSync(files.key, identity.keyPem);
  writeFileSync(files.root, identity.rootPem);
  return files;
}

/** The TLS of a sidecar, made by hand. Resolves once the server has accepted the certificate, or its first bytes say so. */
export function meshTls(
  { host, port }: { host: string; port: number },
  identity: Identity | null,
  alpn: readonly string[] = ["istio-http/1.1"],
): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = connect({
      host,
      port,
      ...(identity === null ? {} : { cert: identity.certPem, key: identity.keyPem }),
      rejectUnauthorized: false,
      ALPNProtocols: [...alpn],
      servername: "outbound_.8080_._.echo.default.svc.cluster.local",
    });
    socket.once("secureConnect", () => {
      socket.off("error", reject);
      resolve(socket);
    });
    socket.once("error", reject);
  });
}

/** One request to the inbound port of a pod by mTLS, past every client sidecar. */
export async function callByTls(to: Call, identity: Identity | null): Promise<Reply> {
  const socket = await meshTls(to, identity);
  const { host, port, method = "GET", path = "/", headers = {}, body } = to;
  return await new Promise<Reply>((resolve, reject) => {
    const sent = request({ host, port, method, path, headers, createConnection: () => socket });
    sent.on("response", (response) => void replyOf(response).then(resolve, reject));
    sent.on("error", reject);
    sent.end(body);
  }).finally(() => socket.destroy());
}
