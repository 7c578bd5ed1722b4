/** Pods come, go, crash and renew their certificates, under load: who calls them does not notice, or as little as said here. */

import { join } from "node:path";
import { connect } from "node:tls";
import { beforeAll, expect, test, vi } from "vitest";
import { onEachDataPlane } from "#test/harness/each-data-plane.ts";
import { type Load, startLoad } from "#test/harness/load.ts";

const from = join(import.meta.dirname, "echo");
const replace = { ECHO_MAIN: join(import.meta.dirname, "../harness/echo-main.ts") };
const args = ["--certificate-ttl", "60"]; // renewed after 30 s

onEachDataPlane("lifecycle", { from, replace, args }, (mesh) => {
  /** How often each pod answered. */
  let answered: Record<string, number> = {};
  let host = "";
  beforeAll(async () => {
    host = await mesh().addressOf("echo", "client");
  });
  const load = (): Load => {
    answered = {};
    return startLoad({
      url: `http://${host}:8080/`,
      headers: { host: "echo:8080" },
      judge: (status, body) => {
        if (status !== 200) return `status ${status}: ${body}`;
        const { service } = JSON.parse(body) as { service: string };
        answered[service] = (answered[service] ?? 0) + 1;
        return null;
      },
    });
  };
  const scale = (replicas: number): void =>
    mesh().edit("mesh.yaml", (text) =>
      text.replace(/(name: echo-v1\nspec:\n)( {2}replicas: \d+\n)?/, `$1  replicas: ${replicas}\n`),
    );
  const patience = { timeout: 20_000, interval: 20 };
  /** Waits until these pods, and only these, have answered since now. */
  const answering = (...pods: string[]): Promise<void> =>
    vi.waitFor(async () => {
      answered = {};
      await vi.waitUntil(() => Object.values(answered).reduce((a, b) => a + b, 0) >= 50, patience);
      expect(Object.keys(answered).sort()).toEqual(pods);
    }, patience);

  test("an edit of `replicas` scales up, and down again; no request fails", async () => {
    const running = load();
    await answering("echo-v1-0", "echo-v2-0");
    scale(3);
    await answering("echo-v1-0", "echo-v1-1", "echo-v1-2", "echo-v2-0");
    scale(2);
    await answering("echo-v1-0", "echo-v1-1", "echo-v2-0");
    await vi.waitUntil(() => mesh().pods("echo-v1").length === 2, patience);
    expect(await running.stop()).toEqual([]);
  });

  test("kill -9 of an app: what it held is 503, others take over, and it comes back", async () => {
    const running = load();
    await answering("echo-v1-0", "echo-v1-1", "echo-v2-0");
    const killed = mesh().kill({ pod: "echo-v1-1", part: "app" });
    await vi.waitUntil(() => !runs(killed), patience);
    await answering("echo-v1-0", "echo-v1-1", "echo-v2-0");
    const failures = await running.stop();
    for (const failure of failures) expect(failure).toMatch(/status 503: upstream connect error/);
    expect(failures.length).toBeLessThan(running.sent() / 2);
    console.info(`${mesh().dataPlane}: app killed: ${failures.length} of ${running.sent()} requests got 503`);
  });

  test("kill -9 of an app, and the policy retries 503 of reads: no request fails", async () => {
    await mesh().apply(`
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: echo }
spec:
  hosts: [echo]
  http:
    - retries: { attempts: 2, retryOn: "connect-failure,refused-stream,503" }
      route: [{ destination: { host: echo, port: { number: 8080 } } }]
`);
    const running = load();
    await answering("echo-v1-0", "echo-v1-1", "echo-v2-0");
    const killed = mesh().kill({ pod: "echo-v1-0", part: "app" });
    await vi.waitUntil(() => !runs(killed), patience);
    await answering("echo-v1-0", "echo-v1-1", "echo-v2-0");
    expect(await running.stop()).toEqual([]);
    await mesh().delete("VirtualService", "echo");
  });

  test("SIGTERM of a sidecar: it drains, others take over, and it comes back; no request fails", async () => {
    const running = load();
    await answering("echo-v1-0", "echo-v1-1", "echo-v2-0");
    const before = mesh().pid({ pod: "echo-v1-1", part: "proxy" })!;
    process.kill(before, "SIGTERM");
    await vi.waitUntil(() => !runs(before), patience);
    await answering("echo-v1-0", "echo-v1-1", "echo-v2-0");
    expect(await running.stop()).toEqual([]);
  });

  test("certificates are renewed at half their life; no request fails", async () => {
    const pods = ["client-0", "echo-v1-0", "echo-v2-0"];
    const serials = () => Promise.all(pods.map((pod) => serialOf(mesh().pod(pod).podIp)));
    const before = await serials();
    expect(new Set(before).size).toBe(pods.length);
    const running = load();
    await vi.waitUntil(async () => (await serials()).every((serial, i) => serial !== before[i]), {
      timeout: 60_000,
      interval: 200,
    });
    const sent = running.sent();
    await vi.waitUntil(() => running.sent() > sent + 50, patience);
    expect(await running.stop()).toEqual([]);
  }, 90_000);
});

function runs(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

/** The serial number that a TLS server shows. */
function serialOf(host: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({
      host,
      port: 8080,
      rejectUnauthorized: false,
      ALPNProtocols: ["istio-http/1.1"],
    });
    socket.once("secureConnect", () => {
      resolve(socket.getPeerCertificate().serialNumber);
      socket.destroy();
    });
    socket.once("error", reject);
  });
}
