/** Names that no hosts file knows: queries of pods go to the host's name servers, through a socket that the host made. */
import { randomInt } from "node:crypto";
import type { RemoteInfo, Socket } from "node:dgram";
import { CLUSTER_DOMAIN } from "./service-names.ts";

/** A resolver asks again after some seconds; what is older will not be waited for. */
const FORGET_MS = 10_000;
const QR_RA = 0x8080;
const NXDOMAIN = 3;
const SERVFAIL = 2;

interface Pending {
  readonly client: RemoteInfo;
  readonly id: number;
  readonly server: NameServer;
  /** Who asked for an alias is told so; null = the answer goes on as it is. */
  readonly alias: { readonly query: Buffer; readonly target: string } | null;
}

/** ExternalName Services of hosts outside: full name -> host. */
export type Aliases = ReadonlyMap<string, string>;

export interface NameServer {
  readonly address: string;
  readonly port: number;
}

/** Answers on `pods`, asks through `host`. Both sockets are bound. */
export function serveNames(
  pods: Socket,
  host: Socket,
  servers: readonly NameServer[],
  aliases: () => Aliases = () => new Map(),
): void {
  const pending = new Map<number, Pending>();
  let turn = 0;
  pods.on("message", (query, client) => {
    const name = questionName(query);
    if (name === null) return; // not a query: silence, as for any garbage
    const target = aliases().get(name) ?? null;
    const own = target === null && (name === CLUSTER_DOMAIN || name.endsWith(`.${CLUSTER_DOMAIN}`));
    // A query again is a query lost: another server may know.
    const server = servers[turn++ % servers.length];
    if (own || server === undefined || pending.size > 1_000) {
      pods.send(refusal(query, own ? NXDOMAIN : SERVFAIL), client.port, client.address);
      return;
    }
    let id = randomInt(65_536);
    while (pending.has(id)) id = (id + 1) & 0xffff;
    const alias = target === null ? null : { query, target };
    pending.set(id, { client, id: query.readUInt16BE(0), server, alias });
    setTimeout(() => pending.delete(id), FORGET_MS).unref();
    const asked = target === null ? Buffer.from(query) : questionFor(query, target);
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
    const { alias, client } = waiting;
    const told = alias === null ? answer : aliasAnswer(alias.query, alias.target, answer);
    told.writeUInt16BE(waiting.id, 0);
    pods.send(told, client.port, client.address);
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

const HEADER = 12;
const TYPE_A = 1;
const TYPE_CNAME = 5;
const TYPE_AAAA = 28;
/** An alias may be changed at any time; the host's own answer keeps its time. */
const ALIAS_TTL_SECONDS = 5;

/** Past the name that begins at `at`; the end of the message if it is cut off (RFC 1035 4.1.4). */
function afterName(message: Buffer, at: number): number {
  for (;;) {
    const length = message[at];
    if (length === undefined) return message.length;
    if (length >= 0xc0) return at + 2;
    if (length === 0) return at + 1;
    at += 1 + length;
  }
}

function encodedName(name: string): Buffer {
  const labels = name.split(".").map((l) => Buffer.concat([Buffer.of(l.length), Buffer.from(l, "latin1")]));
  return Buffer.concat([...labels, Buffer.of(0)]);
}

/** The same question about another name, without EDNS and other additions. */
function questionFor(query: Buffer, name: string): Buffer {
  const end = afterName(query, HEADER);
  const header = Buffer.from(query.subarray(0, HEADER));
  header.fill(0, 6);
  return Buffer.concat([header, encodedName(name), query.subarray(end, end + 4)]);
}

/** "The name is an alias of the target" (CNAME), and the addresses that were answered for the target. */
function aliasAnswer(query: Buffer, target: string, answer: Buffer): Buffer {
  const question = query.subarray(HEADER, afterName(query, HEADER) + 4);
  const name = encodedName(target);
  const alias = record(HEADER, TYPE_CNAME, ALIAS_TTL_SECONDS, name);
  const found = [alias];
  // The record's data begins 12 bytes into it: there the target's name stands.
  const targetAt = HEADER + question.length + 12;
  let at = afterName(answer, HEADER) + 4;
  for (let left = answer.readUInt16BE(6); left > 0; left--) {
    const fields = afterName(answer, at);
    if (fields + 10 > answer.length) break;
    const type = answer.readUInt16BE(fields);
    const end = fields + 10 + answer.readUInt16BE(fields + 8);
    if (end > answer.length) break;
    if (type === TYPE_A || type === TYPE_AAAA)
      found.push(record(targetAt, type, answer.readUInt32BE(fields + 4), answer.subarray(fields + 10, end)));
    at = end;
  }
  const header = Buffer.from(answer.subarray(0, HEADER));
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(found.length, 6);
  header.writeUInt32BE(0, 8); // no authority, no additions
  return Buffer.concat([header, question, ...found]);
}

/** A resource record whose name stands at `nameAt` of the message. */
function record(nameAt: number, type: number, ttl: number, data: Buffer): Buffer {
  const fields = Buffer.alloc(12);
  fields.writeUInt16BE(0xc000 | nameAt, 0);
  fields.writeUInt16BE(type, 2);
  fields.writeUInt16BE(1, 4);
  fields.writeUInt32BE(ttl, 6);
  fields.writeUInt16BE(data.length, 10);
  return Buffer.concat([fields, data]);
}

function refusal(query: Buffer, code: number): Buffer {
  const end = query.indexOf(0, 12) + 5; // the root label, type and class
  const answer = Buffer.from(query.subarray(0, end));
  answer.writeUInt16BE((query.readUInt16BE(2) & 0x7900) | QR_RA | code, 2);
  answer.writeUInt32BE(0, 6); // no answers, no authority
  answer.writeUInt16BE(0, 10); // EDNS and other additions stay out
  return answer;
}
