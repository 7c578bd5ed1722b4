/**
 * Every case of sidecar/http1/cases over sockets, whole and byte by byte: one answer per message, then Connection: close
 * and FIN after a refusal; nothing of a refused message at the backend; no byte after it read; no hang.
 */
import { afterAll, beforeAll, expect, test } from "vitest";
import { readCases } from "#sidecar/http1/cases/read.ts";
import { Backend } from "./backend.ts";
import { talk } from "./client.ts";
import { type Plane, startPlane } from "./plane.ts";

let backend: Backend;
let plane: Plane;
beforeAll(async () => {
  backend = await new Backend().listen();
  plane = await startPlane({ backendPort: backend.port });
});
afterAll(async () => {
  await plane.stop();
  backend.close();
});

const CANARY = Buffer.from("GET /canary HTTP/1.1\r\nHost: a\r\n\r\n");
const LAST = Buffer.from("GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
/** Above this length a case is sent in a few pieces, not in bytes. */
const BYTEWISE_BYTES = 200;

const cases = readCases();
test.each(cases.map((c) => [`${c.id} ${c.statuses.join(" ")} | ${c.text}`, c] as const))(
  "%s",
  async (_, c) => {
    const refused = c.statuses.at(-1)! >= 400;
    // HTTP/1.0 without keep-alive: the answer is the last one anyway.
    const whole = refused || / HTTP\/1\.0\r\n/.test(c.bytes.toString("latin1")) ? CANARY : LAST;
    const message = Buffer.concat([c.bytes, whole]);
    const step = message.length > BYTEWISE_BYTES ? Math.ceil(message.length / 7) : 1;
    const parts = Array.from({ length: Math.ceil(message.length / step) }, (_, i) =>
      message.subarray(i * step, (i + 1) * step),
    );
    const methods = [...c.bytes.toString("latin1").matchAll(/\b([A-Z]{1,20}) \S+ HTTP\/1/g)].map(
      (m) => m[1]!,
    );
    for (const pieces of [[message], parts]) {
      backend.reset();
      const { answers, rest, end } = await talk(plane.port, pieces, { methods });
      const final = answers.filter(({ status }) => status >= 200);
      const wanted = whole === LAST ? [...c.statuses, 200] : c.statuses;
      expect(final.map(({ status }) => status)).toEqual(wanted);
      expect(rest).toBe("");
      // A reset may only come after the answer was read whole, for bytes that nobody wants any more.
      if (!refused) expect(end).toBe("fin");
      else expect(["fin", "reset"]).toContain(end);
      if (refused) expect(final.at(-1)!.fields).toMatch(/^connection: close\r$/m);

      expect(backend.faults).toEqual([]);
      const seen = backend.requests.filter(({ target }) => target !== "/last");
      expect(seen).toHaveLength(c.statuses.filter((status) => status === 200).length);
      expect(backend.bytes).not.toContain("canary");
      if (c.upstream !== null) expect(seen.map(render)).toEqual(c.upstream);
      if (refused && c.statuses.length === 1 && !isChunked(c.bytes)) expect(backend.bytes).toBe("");
    }
  },
);

/** A streaming proxy has sent the head before it can see that a later chunk is bad. */
function isChunked(bytes: Buffer): boolean {
  return bytes.indexOf("Transfer-Encoding: chunked\r\n\r\n") !== -1;
}

function render({ method, target, fields, body }: Backend["requests"][number]): string {
  const lines = fields.filter(([name]) => name !== "x-forwarded-proto").map(([n, v]) => `${n}: ${v}\r\n`);
  return `${method} ${target} HTTP/1.1\r\n${lines.join("")}\r\n${body}`;
}
