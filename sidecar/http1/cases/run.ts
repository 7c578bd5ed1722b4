/** One connection through the codec alone: heads, bodies, and what would go upstream. */
import { BodyReader } from "../body.ts";
import { failureOf, Verdict } from "../errors.ts";
import { RequestHead } from "../request-head.ts";
import { writeRequestHead } from "../write-head.ts";

export interface Run {
  /** Per message; 0 = waiting for more. */
  readonly statuses: number[];
  /** Per message taken whole: the head as written, then the content. */
  readonly upstream: string[];
}

/** `cuts`: how many bytes are known at each step; the last is the length. As in DownstreamConnection, bytes that were read are gone. */
export function runCodec(message: Buffer, cuts: readonly number[]): Run {
  const statuses: number[] = [];
  const upstream: string[] = [];
  const head = new RequestHead();
  const body = new BodyReader();
  let inHead = true;
  let known = 0;
  let bytes: Buffer = Buffer.alloc(0);
  let out = "";
  for (const cut of cuts) {
    bytes = Buffer.concat([bytes, message.subarray(known, cut)]);
    known = cut;
    let at = 0;
    for (;;) {
      if (inHead) {
        if (at === bytes.length) break;
        const seen = bytes.subarray(at);
        const verdict = head.parse(seen);
        if (verdict === Verdict.NeedMore) break;
        if (verdict !== Verdict.Ok) {
          statuses.push(failureOf(verdict).status);
          return { statuses, upstream };
        }
        out = writeRequestHead(head, null, "");
        at += head.end;
        inHead = false;
        body.begin(head.length);
      }
      while (at < bytes.length && !body.done) {
        at = body.next(bytes, at);
        if (body.verdict !== Verdict.Ok) {
          statuses.push(failureOf(body.verdict).status);
          return { statuses, upstream };
        }
        out += bytes.toString("latin1", body.dataStart, body.dataEnd);
      }
      if (!body.done) break;
      statuses.push(200);
      upstream.push(out);
      if (!head.keepAlive) return { statuses, upstream };
      head.reset(0);
      inHead = true;
    }
    bytes = bytes.subarray(at);
  }
  if (!inHead || bytes.length > 0) statuses.push(0);
  return { statuses, upstream };
}
