/** What HTTP/1.1, WebSocket and TCP clients do beyond simple requests, through two sidecars of either kind. */
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { request } from "node:http";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { beforeAll, describe, expect, test, vi } from "vitest";
import { call } from "#test/harness/call.ts";
import { onEachDataPlane } from "#test/harness/each-data-plane.ts";

const from = join(import.meta.dirname, "echo");
const replace = { ECHO_MAIN: join(import.meta.dirname, "../harness/echo-main.ts") };
const SOON = { timeout: 10_000, interval: 10 };
const MIB = 1024 * 1024;
const sha256 = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");

/** A client that writes bytes and looks at bytes. */
class Wire {
  readonly socket: Socket;
  received = "";
  ended = false;
  constructor(host: string, port: number) {
    this.socket = connect({ host, port, allowHalfOpen: true });
    this.socket.on("data", (chunk) => {
      this.received += chunk.toString("latin1");
    });
    this.socket.on("end", () => {
      this.ended = true;
    });
    this.socket.on("error", () => {
      this.ended = true;
    });
  }
  send(text: string | Buffer): this {
    this.socket.write(text);
    return this;
  }
  /** Waits for what matches, and takes all up to its end. */
  async take(pattern: RegExp): Promise<string> {
    await vi.waitUntil(() => pattern.test(this.received) || this.ended, SOON);
    const found = pattern.exec(this.received);
    if (found === null) throw new Error(`${pattern} is not in ${JSON.stringify(this.received)}`);
    const end = found.index + found[0].length;
    const text = this.received.slice(0, end);
    this.received = this.received.slice(end);
    return text;
  }
  async end(): Promise<string> {
    await vi.waitUntil(() => this.ended, SOON);
    this.socket.destroy();
    return this.received;
  }
}
const HEAD = /HTTP\/1\.1 [\s\S]*?\r\n\r\n/;
const ANSWER =
  /HTTP\/1\.1 [\s\S]*?\r\n\r\n(?:[\da-f]+\r\n)?\{"service"[\s\S]*?"identity":(?:null|"[^"]*")\}(?:\r\n0\r\n\r\n)?/;

onEachDataPlane("protocols", { from, replace, modes: ["explicit", "transparent"] }, (mesh, { dataPlane }) => {
  let host = "";
  beforeAll(async () => {
    host = await mesh().addressOf("echo", "client");
  });
  const open = (port = 8080): Wire => new Wire(host, port);

  describe("WebSocket and upgrades", () => {
    const UPGRADE =
      "GET /ws HTTP/1.1\r\nHost: echo:8080\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
      "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    /** A masked text frame (RFC 6455 5.2); the mask is zero. */
    const frame = (text: string): Buffer =>
      Buffer.concat([Buffer.from([0x81, 0x80 | text.length, 0, 0, 0, 0]), Buffer.from(text)]);

    test("frames go both ways after 101", async () => {
      const wire = open().send(UPGRADE);
      const head = await wire.take(HEAD);
      expect(head).toMatch(/^HTTP\/1\.1 101 /);
      expect(head.toLowerCase()).toContain("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=");
      for (const text of ["one", "two", "three"]) {
        wire.send(frame(text));
        expect(await wire.take(new RegExp(text))).toBe(`\x81${String.fromCharCode(text.length)}${text}`);
      }
      wire.socket.end();
      expect(await wire.end()).toBe("");
    });

    test("the route's response headers are on the 101", async () => {
      await mesh().apply(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: upgrade}\nspec:\n" +
          "  hosts: [echo]\n  http:\n  - headers: {response: {set: {x-route: upgraded}}}\n" +
          "    route: [{destination: {host: echo}}]\n",
      );
      const wire = open().send(UPGRADE);
      const head = await wire.take(HEAD);
      expect(head).toMatch(/^HTTP\/1\.1 101 /);
      expect(head.toLowerCase()).toContain("x-route: upgraded");
      wire.socket.destroy();
      await mesh().delete("VirtualService", "upgrade");
    });

    test("bytes that are sent ahead of the 101 arrive", async () => {
      const wire = open().send(Buffer.concat([Buffer.from(UPGRADE), frame("early")]));
      expect(await wire.take(HEAD)).toMatch(/^HTTP\/1\.1 101 /);
      expect(await wire.take(/early/)).toBe("\x81\x05early");
      wire.socket.destroy();
    });

    test("an answer that is not 101 is an answer, and what was sent ahead is never a request", async () => {
      const smuggled = "GET /smuggled HTTP/1.1\r\nHost: echo:8080\r\nx-case: smuggled\r\n\r\n";
      const wire = open().send(UPGRADE.replace("/ws", "/ws?refuse=401") + smuggled);
      expect(await wire.take(/refused/)).toMatch(/^HTTP\/1\.1 401 /);
      expect(await wire.end()).toBe("");
      for (const pod of ["echo-v1", "echo-v2"]) {
        const seen = await call({ host: await mesh().appAddress(pod), port: 8080, path: "/.cases" });
        expect(seen.body).not.toContain("smuggled");
      }
    });

    // Apache HttpClient offers TLS/1.2 with every request.
    test.each(["TLS/1.2", "spdy/3.1", "HTTP/2.0"])(
      "an upgrade to %s is not taken, for no method",
      async (token) => {
        for (const method of ["GET", "POST", "DELETE"]) {
          const wire = open();
          for (let i = 0; i < 2; i++) {
            wire.send(
              `${method} /plain HTTP/1.1\r\nHost: echo:8080\r\nConnection: Upgrade\r\nUpgrade: ${token}\r\nContent-Length: 0\r\n\r\n`,
            );
            const answer = await wire.take(ANSWER);
            expect(answer).toMatch(/^HTTP\/1\.1 200 /);
            expect(answer).not.toContain('"upgrade"');
          }
          wire.socket.destroy();
        }
      },
    );

    test("a header that Connection names counts for no route and reaches nobody", async () => {
      await mesh().apply(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: hop}\nspec:\n" +
          "  hosts: [echo]\n  http:\n  - match: [{headers: {x-scope: {exact: readonly}}}]\n    directResponse: {status: 418}\n" +
          "  - route: [{destination: {host: echo}}]\n",
      );
      const wire = open();
      wire.send("GET / HTTP/1.1\r\nHost: echo:8080\r\nX-Scope: readonly\r\n\r\n");
      expect(await wire.take(HEAD)).toMatch(/^HTTP\/1\.1 418 /);
      wire.send("GET / HTTP/1.1\r\nHost: echo:8080\r\nX-Scope: readonly\r\nConnection: x-scope\r\n\r\n");
      const answer = await wire.take(ANSWER);
      expect(answer).toMatch(/^HTTP\/1\.1 200 /);
      expect(answer).not.toContain("x-scope");
      wire.socket.destroy();
      await mesh().delete("VirtualService", "hop");
    });
  });

  describe("TCP", () => {
    test("32 MiB each way, the client ends first", async () => {
      const bytes = randomBytes(32 * MIB);
      const socket = connect({ host, port: 9000, allowHalfOpen: true });
      const back = createHash("sha256");
      let length = 0;
      socket.on("data", (chunk) => {
        back.update(chunk);
        length += chunk.length;
      });
      socket.end(bytes);
      await once(socket, "end");
      expect(length).toBe(bytes.length);
      expect(back.digest("hex")).toBe(sha256(bytes));
    });

    test("a client that ends at once, and one that never speaks", async () => {
      const hasty = open(9000);
      hasty.socket.end();
      expect(await hasty.end()).toBe("");
      const silent = open(9000);
      silent.socket.end("late");
      expect(await silent.end()).toBe("late");
    });
  });

  describe("HTTP/1", () => {
    test("HTTP/1.0 is asked to come back with HTTP/1.1", async () => {
      const wire = open().send("GET / HTTP/1.0\r\nHost: echo:8080\r\n\r\n");
      expect(await wire.take(HEAD)).toMatch(/^HTTP\/1\.1 426 /);
      expect(await wire.end()).toBe("Upgrade Required");
    });

    test("a chunked body arrives; its trailers, and those of answers, do not", async () => {
      const wire = open().send(
        "POST /?trailers=1 HTTP/1.1\r\nHost: echo:8080\r\nTransfer-Encoding: chunked\r\nTrailer: x-after\r\n\r\n" +
          "5;ext=1\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\nx-after: 1\r\nx-role: admin\r\n\r\n",
      );
      const answer = await wire.take(ANSWER);
      expect(answer).toContain('"body":"hello world"');
      expect(answer).toContain('"trailers":{}');
      expect(answer).not.toContain("x-role");
      expect(answer).toMatch(/\r\n0\r\n\r\n$/);
      wire.send("GET / HTTP/1.1\r\nHost: echo:8080\r\n\r\n");
      expect(await wire.take(HEAD)).toMatch(/^HTTP\/1\.1 200 /);
      wire.socket.destroy();
    });

    test("100-continue: the body is asked for, then taken", async () => {
      const wire = open().send(
        "POST / HTTP/1.1\r\nHost: echo:8080\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
      );
      expect(await wire.take(HEAD)).toBe("HTTP/1.1 100 Continue\r\n\r\n");
      expect(await wire.send("hello").take(ANSWER)).toContain('"body":"hello"');
      wire.socket.destroy();
    });

    test("HEAD, 204 and 304 have no body, and the connection goes on", async () => {
      const wire = open();
      wire.send("HEAD /?size=1000 HTTP/1.1\r\nHost: echo:8080\r\n\r\n");
      expect(await wire.take(HEAD)).toMatch(/^HTTP\/1\.1 200 /);
      for (const status of [204, 304]) {
        wire.send(`GET /?status=${status} HTTP/1.1\r\nHost: echo:8080\r\n\r\n`);
        const head = await wire.take(HEAD);
        expect(head).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
        expect(head.toLowerCase()).not.toContain("transfer-encoding");
      }
      wire.send("GET /last HTTP/1.1\r\nHost: echo:8080\r\n\r\n");
      expect(await wire.take(ANSWER)).toContain('"path":"/last"');
      wire.socket.destroy();
    });

    test("pipelined requests are answered in order", async () => {
      const wire = open();
      const paths = ["/first?delay=100", "/second", "/third", "/fourth?delay=20", "/fifth"];
      wire.send(paths.map((path) => `GET ${path} HTTP/1.1\r\nHost: echo:8080\r\n\r\n`).join(""));
      for (const path of paths) expect(await wire.take(ANSWER)).toContain(`"path":"${path}"`);
      wire.socket.destroy();
    });

    test("64 MiB up, 64 MiB down", async () => {
      const bytes = randomBytes(64 * MIB);
      const up = await call({
        host,
        port: 8080,
        path: "/?digest=1",
        method: "POST",
        body: bytes,
        headers: { host: "echo:8080" },
      });
      expect(up.echoed?.body).toBe(`${bytes.length} ${sha256(bytes)}`);
      const down = await call({
        host,
        port: 8080,
        path: `/?size=${64 * MIB}`,
        headers: { host: "echo:8080" },
      });
      expect(down.body.length).toBe(64 * MIB);
      expect(sha256(Buffer.from(down.body, "latin1"))).toBe(sha256(Buffer.alloc(64 * MIB, "x")));
    });

    test("an answer in chunks is an answer in chunks, with the same bytes", async () => {
      const { status, headers, body } = await call({
        host,
        port: 8080,
        path: "/?size=100000&chunked=7000",
        headers: { host: "echo:8080" },
      });
      expect(status).toBe(200);
      expect(headers).toMatchObject({ "transfer-encoding": "chunked" });
      expect(headers).not.toHaveProperty("content-length");
      expect(body).toBe("x".repeat(100_000));
    });

    test("16 MiB up, to a server that reads late", async () => {
      const body = randomBytes(16 * MIB);
      const path = "/?digest=1&pause=300";
      const up = await call({ host, port: 8080, path, method: "POST", body, headers: { host: "echo:8080" } });
      expect(up.echoed?.body).toBe(`${body.length} ${sha256(body)}`);
    });

    test("a client that goes away in the middle of its body harms nobody", async () => {
      const wire = open().send(`POST / HTTP/1.1\r\nHost: echo:8080\r\nContent-Length: ${MIB}\r\n\r\n`);
      await once(wire.send(randomBytes(100_000)).socket, "drain");
      wire.socket.resetAndDestroy();
      for (let i = 0; i < 10; i++)
        expect((await call({ host, port: 8080, headers: { host: "echo:8080" } })).status).toBe(200);
    });

    const UPLOAD = `POST / HTTP/1.1\r\nHost: echo:8080\r\nx-case: gone\r\nContent-Length: ${MIB}\r\n\r\nhello`;
    const leaves = [
      ["the answer is awaited", "GET /?delay=600000 HTTP/1.1\r\nHost: echo:8080\r\nx-case: gone\r\n\r\n", ""],
      ["the request is being sent", UPLOAD, ""],
      [
        "the answer comes",
        `GET /?size=${100 * MIB} HTTP/1.1\r\nHost: echo:8080\r\nx-case: gone\r\n\r\n`,
        "xxx",
      ],
    ] as const;
    // A stock Envoy may keep one that reads no more of its answer for longer than is waited here.
    test.each(dataPlane === "weft" ? leaves : leaves.slice(0, 2))(
      "a client that closes (FIN) while %s: the request is cancelled up to the app",
      async (_when, sent, until) => {
        const seen = async (name: string): Promise<number> => {
          let count = 0;
          for (const pod of ["echo-v1", "echo-v2"]) {
            const { body } = await call({ host: await mesh().appAddress(pod), port: 8080, path: "/.cases" });
            count += (JSON.parse(body) as Record<string, number>)[name] ?? 0;
          }
          return count;
        };
        const [begun, cut] = [await seen("gone"), await seen("gone cut")];
        const wires = Array.from({ length: 5 }, () => open().send(sent));
        await expect.poll(() => seen("gone"), SOON).toBe(begun + 5);
        for (const wire of wires) {
          if (until !== "") await wire.take(new RegExp(until));
          wire.socket.pause().end();
        }
        await expect.poll(() => seen("gone cut"), SOON).toBe(cut + 5);
        for (const wire of wires) wire.socket.destroy();
      },
    );

    test("a request without Host is refused", async () => {
      const wire = open().send("GET / HTTP/1.1\r\n\r\n");
      expect(await wire.take(HEAD)).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n/);
      wire.socket.destroy();
    });

    test("a client that does not read holds no memory of the proxies", async () => {
      const pods = ["client", "echo-v1", "echo-v2"].map((workload) => mesh().pod(workload).name);
      const pids = pods.map((pod) => proxyPid(mesh().pid({ pod, part: "proxy" })!));
      const before = pids.map(residentBytes);
      const sent = request({
        host,
        port: 8080,
        path: `/?size=${200 * MIB}`,
        headers: { host: "echo:8080" },
        agent: false,
      });
      sent.end();
      const [response] = (await once(sent, "response")) as [import("node:http").IncomingMessage];
      response.pause();
      // Until nothing moves any more: the same memory in ten looks in a row.
      let last = "";
      let same = 0;
      await vi.waitUntil(
        () => {
          const now = pids.map((pid) => Math.round(residentBytes(pid) / MIB)).join();
          same = now === last ? same + 1 : 0;
          last = now;
          return same >= 10;
        },
        { timeout: 20_000, interval: 50 },
      );
      const grown = pids.map((pid, i) => Math.round((residentBytes(pid) - before[i]!) / MIB));
      expect(Math.max(...grown)).toBeLessThan(48);
      let length = 0;
      response.on("data", (chunk: Buffer) => {
        length += chunk.length;
      });
      response.resume();
      await once(response, "end");
      expect(length).toBe(200 * MIB);
    });
  });
});

/** The proxy itself: Envoy is the child of its agent. */
function proxyPid(pid: number): number {
  const [child] = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ");
  return Number(child) || pid;
}

function residentBytes(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) * 1024;
}
