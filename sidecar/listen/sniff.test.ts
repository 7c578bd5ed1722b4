/**
 * What the first bytes are does not depend on how they arrive: real and mutated ClientHellos in any records, HTTP
 * heads, garbage. Nothing throws, and every byte is still in the socket afterwards. WEFT_FUZZ_SEED chooses others.
 */
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { Duplex } from "node:stream";
import { connect as tlsConnect } from "node:tls";
import fc from "fast-check";
import { expect, test } from "vitest";
import { HelloParser } from "./client-hello.ts";
import { type Detected, detect, inspect } from "./detect.ts";

const SEED = Number(process.env["WEFT_FUZZ_SEED"] ?? 20_261_125);
const OPTIONS = { tls: true, http: true, timeoutMs: 0 };

/** The ClientHello that Node's OpenSSL sends. */
function realHello(servername: string, alpn: string[]): Buffer {
  const sent: Buffer[] = [];
  const wire = new Duplex({
    read: () => {},
    write: (chunk: Buffer, _encoding, done) => {
      sent.push(chunk);
      done();
    },
  });
  const client = tlsConnect({ socket: wire, servername, ALPNProtocols: alpn });
  client.on("error", () => {});
  client.destroy();
  return Buffer.concat(sent);
}
const HELLO = realHello("reviews.example", ["istio-http/1.1", "istio", "h2"]);

/** The verdict of one connection whose bytes arrive up to each of `cuts` in turn; null = still waiting. */
function sniff(bytes: Buffer, cuts: readonly number[]): Detected | null {
  const parser = new HelloParser();
  for (const cut of cuts) {
    const verdict = inspect(bytes.subarray(0, cut), parser, OPTIONS);
    if (verdict !== null) return verdict;
  }
  return null;
}
const everyByte = (bytes: Buffer): number[] => Array.from(bytes, (_, i) => i + 1);

/** The handshake message of `hello` again, in records of these sizes, then one with the rest. */
function inRecords(hello: Buffer, sizes: readonly number[]): Buffer {
  const records: Buffer[] = [];
  let rest = hello.subarray(5);
  for (let i = 0; rest.length > 0; i++) {
    const part = rest.subarray(0, sizes[i] ?? rest.length);
    records.push(Buffer.from([0x16, 3, 1, part.length >> 8, part.length & 255]), part);
    rest = rest.subarray(part.length);
  }
  return Buffer.concat(records);
}

test("a real hello, in any records and any pieces", () => {
  expect(HELLO.length).toBeGreaterThan(200);
  const facts = sniff(HELLO, [HELLO.length]);
  expect(facts).toEqual({
    transport: "tls",
    applicationProtocols: ["istio-http/1.1", "istio", "h2"],
    serverName: "reviews.example",
    timedOut: false,
  });
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 300 }), { maxLength: 60 }), (sizes) => {
      const bytes = inRecords(HELLO, sizes);
      expect(sniff(bytes, [bytes.length])).toEqual(facts);
      expect(sniff(bytes, everyByte(bytes))).toEqual(facts);
    }),
    { numRuns: 100, seed: SEED },
  );
});

test.each([
  ["an empty record", Buffer.from([0x16, 3, 1, 0, 0])],
  ["another handshake message", Buffer.from([0x16, 3, 1, 0, 5, 2, 0, 0, 1, 0])],
  ["an alert", Buffer.from([0x15, 3, 1, 0, 2, 2, 40])],
  ["a record above 16 KiB", Buffer.from([0x16, 3, 1, 0x40, 1, 1])],
  ["a hello above 16 KiB", inRecords(Buffer.alloc(5 + 4, 1), [])],
  ["SSLv2", Buffer.from("802e0100020015000000100100800200800300800400800500", "hex")],
])("%s is not TLS, and not waited for", (_name, bytes) => {
  expect(sniff(bytes, everyByte(bytes))?.transport).toBe("raw_buffer");
});

const SEEDS = [
  HELLO,
  inRecords(HELLO, [1, 3, 100, 2]),
  Buffer.from("GET /a HTTP/1.1\r\nHost: a\r\n\r\n"),
  Buffer.from("\r\nPOST /x HTTP/1.0\r\n\r\n"),
  Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
  Buffer.from("SSH-2.0-OpenSSH_9\r\n"),
  Buffer.from(`GET /${"a".repeat(17 * 1024 - 20)} HTTP/1.1\r\n`),
  Buffer.from(`${"M".repeat(64)} / HTTP/1.1\r\n`),
];
const place = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
const mutated = fc
  .tuple(
    fc.constantFrom(...SEEDS),
    fc.array(
      fc.tuple(fc.constantFrom("set", "cut", "add" as const), place, fc.integer({ min: 0, max: 255 })),
      {
        maxLength: 4,
      },
    ),
  )
  .map(([seed, mutations]) => {
    let bytes = Buffer.from(seed);
    for (const [kind, where, byte] of mutations) {
      const at = Math.floor(where * bytes.length);
      if (kind === "set" && at < bytes.length) bytes[at] = byte;
      if (kind === "cut") bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1)]);
      if (kind === "add")
        bytes = Buffer.concat([bytes.subarray(0, at), Buffer.from([byte]), bytes.subarray(at)]);
    }
    return bytes;
  });

test("mutated bytes: one verdict however they are split, and nothing throws", () => {
  let tls = 0;
  let other = 0;
  fc.assert(
    fc.property(mutated, fc.array(place, { minLength: 3, maxLength: 3 }), (bytes, places) => {
      const whole = sniff(bytes, [bytes.length]);
      if (whole?.transport === "tls") tls++;
      else other++;
      for (const p of places)
        expect(sniff(bytes, [Math.floor(p * bytes.length), bytes.length])).toEqual(whole);
      if (bytes.length < 1000) expect(sniff(bytes, everyByte(bytes))).toEqual(whole);
    }),
    { numRuns: 4000, seed: SEED },
  );
  expect(tls).toBeGreaterThan(100);
  expect(other).toBeGreaterThan(100);
});

/** Sends pieces, detects, and reads what follows from the same socket. */
async function overSocket(pieces: readonly Buffer[], timeoutMs: number): Promise<[Detected | null, Buffer]> {
  const server = createServer({ allowHalfOpen: true }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const arrived = once(server, "connection") as Promise<[Socket]>;
  const client = connect({
    port: (server.address() as { port: number }).port,
    host: "127.0.0.1",
    noDelay: true,
  });
  client.on("error", () => {});
  const [socket] = await arrived;
  const detected = new Promise<Detected | null>((resolve) =>
    detect(socket, { ...OPTIONS, timeoutMs }, resolve, () => resolve(null)),
  );
  for (const piece of pieces)
    await new Promise<void>((done) => client.write(piece, () => setImmediate(done)));
  const verdict = await detected;
  const seen: Buffer[] = [];
  if (verdict !== null) {
    socket.on("data", (chunk: Buffer) => seen.push(chunk));
    client.end();
    await once(socket, "end");
  }
  socket.destroy();
  client.destroy();
  server.close();
  return [verdict, Buffer.concat(seen)];
}

test("over sockets the bytes are all still there, in order", async () => {
  const seeds = [HELLO, Buffer.from("GET /abc HTTP/1.1\r\nHost: a\r\n\r\n"), Buffer.from([0, 1, 2, 3])];
  for (const bytes of seeds) {
    for (const step of [1, 7, bytes.length]) {
      const pieces = Array.from({ length: Math.ceil(bytes.length / step) }, (_, i) =>
        bytes.subarray(i * step, (i + 1) * step),
      );
      const [detected, seen] = await overSocket(pieces, 0);
      expect(detected).toEqual(sniff(bytes, [bytes.length]));
      expect(seen.equals(bytes)).toBe(true);
    }
  }
});

test.each(["GE", "PRI * HT", "\x16\x03", "\r\n", `GET /${"a".repeat(100)}`])(
  "%j and then silence goes on after the timeout, with its bytes",
  async (text) => {
    const [detected, seen] = await overSocket([Buffer.from(text, "latin1")], 20);
    expect(detected?.timedOut).toBe(true);
    expect(seen.toString("latin1")).toBe(text);
  },
);
