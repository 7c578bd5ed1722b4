/** One connection through the codec alone: heads, bodies, and what would go upstream. */
import { BodyReader } from "../body.ts";
import { failureOf, Verdict } from "../errors.ts";
import { RequestHead } from "../request-head.ts";
import { ResponseHead } from "../response-head.ts";
import { downstreamFraming, writeRequestHead, writeResponseHead } from "../write-head.ts";

export interface Run {
  /** Per message; 0 = waiting for more. */
  readonly statuses: number[];
  /** Per message taken whole: the head as written, then the content. Of a response: downstream. */
  readonly out: string[];
}

/** `cuts`: how many bytes are known at each step; the last is the length. As in DownstreamConnection, bytes that were read are gone. */
export function runCodec(message: Buffer, cuts: readonly number[]): Run {
  const statuses: number[] = [];
  const out: string[] = [];
  const head = new RequestHead();
  const body = new BodyReader();
  let inHead = true;
  // The codec lowers names where they stand: what was read stays read, as in a connection's buffer.
  const all = Buffer.from(message);
  let from = 0;
  let text = "";
  for (const cut of cuts) {
    const bytes = all.subarray(from, cut);
    let at = 0;
    for (;;) {
      if (inHead) {
        if (at === bytes.length) break;
        const seen = bytes.subarray(at);
        const verdict = head.parse(seen);
        if (verdict === Verdict.NeedMore) break;
        if (verdict !== Verdict.Ok) {
          statuses.push(failureOf(verdict).status);
          return { statuses, out };
        }
        text = writeRequestHead(head, null, "");
        at += head.end;
        inHead = false;
        body.begin(head.length);
      }
      while (at < bytes.length && !body.done) {
        at = body.next(bytes, at);
        if (body.verdict !== Verdict.Ok) {
          statuses.push(failureOf(body.verdict).status);
          return { statuses, out };
        }
        text += bytes.toString("latin1", body.dataStart, body.dataEnd);
      }
      if (!body.done) break;
      statuses.push(200);
      out.push(text);
      if (!head.keepAlive) return { statuses, out };
      head.reset(0);
      inHead = true;
    }
    from += at;
  }
  if (!inHead || from < all.length) statuses.push(0);
  return { statuses, out };
}

/** One answer of an upstream through the codec: its status, or 502; 0 = waiting for more. */
export function runResponse(message: Buffer, cuts: readonly number[], method: string): Run {
  const statuses: number[] = [];
  const head = new ResponseHead();
  const body = new BodyReader();
  head.reset(0);
  // The codec lowers names where they stand: what was read stays read, as in a connection's buffer.
  const all = Buffer.from(message);
  let from = 0;
  let text = "";
  let inHead = true;
  for (const cut of cuts) {
    const bytes = all.subarray(from, cut);
    let at = 0;
    while (inHead) {
      const verdict = head.parse(bytes, method);
      if (verdict === Verdict.NeedMore) break;
      if (verdict !== Verdict.Ok || head.status === 101) return { statuses: [...statuses, 502], out: [] };
      statuses.push(head.status);
      if (head.status < 200) {
        head.reset(head.end);
        continue;
      }
      text = writeResponseHead(head, null, downstreamFraming(head, method, 1), "");
      at = head.end;
      inHead = false;
      body.begin(head.length);
    }
    if (inHead) continue;
    while (at < bytes.length && !body.done) {
      at = body.next(bytes, at);
      if (body.verdict !== Verdict.Ok) return { statuses: [...statuses.slice(0, -1), 502], out: [] };
      text += bytes.toString("latin1", body.dataStart, body.dataEnd);
    }
    if (body.done) return { statuses, out: [text] };
    from += at;
  }
  if (!inHead && body.untilClose) return { statuses, out: [text] };
  return { statuses: [...(inHead ? statuses : statuses.slice(0, -1)), 0], out: [] };
}
