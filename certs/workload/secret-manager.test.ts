import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { TestClock } from "#lib/clock.ts";
import { Authority } from "../authority/index.ts";
import { parseCsr } from "../x509/index.ts";
import { SecretManager, type WorkloadSecret } from "./index.ts";

let base: string;
let ca: Authority;
let clock: TestClock;
let managers: SecretManager[];
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), "weft-wl-"));
  clock = new TestClock();
  ca = Authority.open(join(base, "ca"), "cluster.local", clock);
  managers = [];
});
afterEach(() => {
  for (const m of managers) m.stop();
  rmSync(base, { recursive: true, force: true });
});

const HOUR = 3_600_000;
const sign = async (csr: string, ttl: number): Promise<string[]> =>
  ca.issue(parseCsr(csr).spki, "spiffe://cluster.local/ns/default/sa/a", ttl).chain;
function manager(with_: (csr: string, ttl: number) => Promise<string[]>, random = () => 0.5): SecretManager {
  const made = new SecretManager({
    sign: with_,
    trustDomain: "cluster.local",
    ttlSeconds: 86_400,
    clock,
    random,
  });
  managers.push(made);
  return made;
}
const nextChange = (m: SecretManager): Promise<WorkloadSecret> =>
  new Promise((resolve) => {
    const off = m.onChange((s) => {
      off();
      resolve(s);
    });
  });

test("renews at half life with a new key, and tells", async () => {
  const m = manager(sign);
  m.start();
  const first = await m.ready();
  expect(first.spiffeId).toBe("spiffe://cluster.local/ns/default/sa/a");
  const changed = nextChange(m);
  clock.advance(12 * HOUR - 1);
  expect(m.current).toBe(first);
  clock.advance(1);
  const second = await changed;
  expect(second.keyPem).not.toBe(first.keyPem);
  expect(second.notAfter).toBe(first.notAfter + 12 * HOUR);
});

test.each([
  [0, 0.49],
  [0.999999, 0.51],
])("jitter: random %d renews at about %d of the life", async (random, part) => {
  let calls = 0;
  const m = manager(
    (csr, ttl) => {
      calls++;
      return sign(csr, ttl);
    },
    () => random,
  );
  m.start();
  await m.ready();
  clock.advance(24 * HOUR * part - 2000);
  expect(calls).toBe(1);
  clock.advance(4000);
  expect(calls).toBe(2);
});

test("keeps the old certificate while the CA fails, and tries again", async () => {
  let down = false;
  let calls = 0;
  const m = manager(async (csr, ttl) => {
    calls++;
    if (down) throw new Error("CA is away");
    return sign(csr, ttl);
  });
  m.start();
  const first = await m.ready();
  down = true;
  clock.advance(12 * HOUR);
  await vi.waitFor(() => expect(m.lastError).toBe("CA is away"));
  expect(m.current).toBe(first);
  // A retry arms its timer only once the failed call has settled: move time until it fires.
  await vi.waitFor(() => {
    clock.advance(30_000);
    expect(calls).toBeGreaterThanOrEqual(5);
  });
  down = false;
  const changed = nextChange(m);
  await vi.waitFor(() => {
    clock.advance(30_000);
    expect(m.current).not.toBe(first);
  });
  await changed;
  expect(m.lastError).toBeUndefined();
});

test("refuses a certificate for another key, another trust domain, or no chain", async () => {
  const otherCsr = await new Promise<string>((resolve) => {
    manager(async (csr) => {
      resolve(csr);
      throw new Error("done");
    }).start();
  });
  const other = Authority.open(join(base, "other"), "other.org", clock);
  const cases: [(csr: string, ttl: number) => Promise<string[]>, RegExp][] = [
    [(_csr, ttl) => sign(otherCsr, ttl), /another key/],
    [async (csr, ttl) => (await sign(csr, ttl)).slice(0, 1), /a leaf and a root/],
    [
      async (csr, ttl) => other.issue(parseCsr(csr).spki, "spiffe://other.org/ns/a/sa/a", ttl).chain,
      /trust domain/,
    ],
  ];
  for (const [bad, message] of cases) {
    const m = manager(bad);
    m.start();
    await vi.waitFor(() => expect(m.lastError).toMatch(message));
    expect(m.current).toBeUndefined();
  }
});
