/** Names that no hosts file knows: queries of pods go to the host's name servers, through a socket that the host made. */
import { randomInt } from "node:crypto";
import type { RemoteInfo, Socket } from "node:dgram";
import { CLUSTER_DOMAIN } from "./names.ts";

/** A resolver asks again after some seconds; what is older will not be waited for. */
const FORGET_MS = 10_000;
const QR_RA = 0x8080;
const NXDOMAIN = 3;
const SERVFAIL = 2;

interface Pending {
  readonly client: RemoteInfo;
  readonly id: number;
  readonly server: NameServer;
}

export interface NameServer {
  readonly address: string;
  readonly port: number;
}

/** Answers on `pods`, asks through `host`. Both sockets are bound. */
export function serveNames(pods: Socket, host: Socket, servers: readonly NameServer[]): void {
  const pending = new Map<number, Pending>();
  let turn = 0;
  pods.on("message", (query, client) => {
    const name = questionName(query);
    if (name === null) return; // not a query: silence, as for any garbage
    const own = name === CLUSTER_DOMAIN || name.endsWith(`.${CLUSTER_DOMAIN}`);
    // A query again is a query lost: another server may know.
    const server = servers[turn++ % servers.length];
    if (own || server === undefined || pending.size > 1_000) {
      pods.send(refusal(query, own ? NXDOMAIN : SERVFAIL), client.port, client.address);
      return;
    }
    let id = randomInt(65_536);
    while (pending.has(id)) id = (id + 1) & 0xffff;
    pending.set(id, { client, id: query.readUInt16BE(0), server });
    setTimeout(() => pending.delete(id), FORGET_MS).unref();
    const asked = Buffer.from(query);
    asked.writeUInt16BE(id, 0);
    host.send(asked, server.port, server.address);
  });
  host.on("message", (answer, from) => {
    if (answer.length < 12) return;
    const id = answer.readUInt16BE(0);
    const waiting = pending.get(id);
    if (waiting === undefined || from.port !== waiting.server.port || from.address !== waiting.server.address)
      return;
    pending.delete(id);
    answer.writeUInt16BE(waiting.id, 0);
    pods.send(answer, waiting.client.port, waiting.client.address);
  });
  for (const socket of [pods, host]) socket.on("error", () => {});
}

/** The lower-case name of the one question of a query; null when the message is no such thing (RFC 1035 4.1). */
export function questionName(message: Buffer): string | null {
  if (message.length < 17 || (message[2]! & 0x80) !== 0 || message.readUInt16BE(4) !== 1) return null;
  const labels: string[] = [];
  let at = 12;
  for (;;) {
    const length = message[at];
    if (length === undefined || length > 63) return null;
    if (length === 0) break;
    labels.push(message.toString("latin1", at + 1, at + 1 + length));
    at += 1 + length;
  }
  return labels.join(".").toLowerCase();
}

function refusal(query: Buffer, code: number): Buffer {
  const end = query.indexOf(0, 12) + 5; // the root label, type and class
  const answer = Buffer.from(query.subarray(0, end));
  answer.writeUInt16BE((query.readUInt16BE(2) & 0x7900) | QR_RA | code, 2);
  answer.writeUInt32BE(0, 6); // no answers, no authority
  answer.writeUInt16BE(0, 10); // EDNS and other additions stay out
  return answer;
}
