/** Roots that a DestinationRule names by file (`caCertificates`) or leaves to the system, for SDS as pilot-agent serves them. */
import { generateKeyPairSync } from "node:crypto";
import { readFileSync } from "node:fs";
import { getCACertificates } from "node:tls";
import { buildRoot, toPem } from "#certs/x509/index.ts";
import type { Logger } from "#lib/log.ts";

const PREFIX = "file-root:";
const SYSTEM = "system";

/**
 * PEM of the roots. What cannot be read is answered with a root that signed nothing: without an answer Envoy holds the
 * cluster back, and every later change of clusters and listeners with it.
 */
export function readFileRoot(name: string, log: Logger): string {
  if (!name.startsWith(PREFIX)) {
    log.error("a secret that nobody here has is asked for: nothing is trusted where it is named", { name });
    return nobody();
  }
  const path = name.slice(PREFIX.length);
  try {
    if (path === SYSTEM) return systemRoots();
    const pem = readFileSync(path, "utf8");
    if (pem.includes("-----BEGIN CERTIFICATE-----")) return pem;
    log.error("a CA file holds no certificate: nothing is trusted where it is named", { path });
  } catch (problem) {
    log.error("a CA file cannot be read: nothing is trusted where it is named", {
      path,
      error: (problem as Error).message,
    });
  }
  return nobody();
}

function systemRoots(): string {
  const system = getCACertificates("system");
  return (system.length > 0 ? system : getCACertificates("bundled")).join("\n");
}

function nobody(): string {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  const now = Date.now();
  return toPem("CERTIFICATE", buildRoot(privateKey, "nobody", { notBefore: now, notAfter: now + 1000 }));
}
