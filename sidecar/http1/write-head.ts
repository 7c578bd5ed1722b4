// hot path
/** Heads as we write them: fields re-serialised, hop-by-hop removed, framing always ours (RFC 9110 7.6.1, RFC 9112 6). */
import { dateLine } from "./date.ts";
import { Field, type HeaderBlock } from "./header-block.ts";
import { CHUNKED, type RequestHead, UNTIL_CLOSE } from "./request-head.ts";
import type { ResponseHead } from "./response-head.ts";

/** What filters change in a head; names are lower case. Applied once, when the head is written. */
export class HeadEdits {
  /** Names whose fields from the wire are dropped. */
  readonly removed: string[] = [];
  /** name, value, name, value: fields added at the end. */
  readonly added: string[] = [];

  clear(): void {
    // Setting `length` would be a call into the runtime, per request (V8 13.6).
    while (this.removed.length > 0) this.removed.pop();
    while (this.added.length > 0) this.added.pop();
  }

  remove(name: string): void {
    this.removed.push(name);
    for (let i = this.added.length - 2; i >= 0; i -= 2) {
      if (this.added[i] === name) this.added.splice(i, 2);
    }
  }

  add(name: string, value: string): void {
    this.added.push(name, value);
  }

  touches(name: string): boolean {
    return this.adds(name) || this.removed.includes(name);
  }

  adds(name: string): boolean {
    for (let i = 0; i < this.added.length; i += 2) if (this.added[i] === name) return true;
    return false;
  }

  set(name: string, value: string): void {
    this.remove(name);
    this.added.push(name, value);
  }
}

/** The request as it goes upstream: origin-form, HTTP/1.1, keep-alive unless it upgrades. */
export function writeRequestHead(head: RequestHead, edits: HeadEdits | null, upgrade: string): string {
  let out = `${head.method} ${head.path} HTTP/1.1\r\nhost: ${head.authority}\r\n`;
  out += keptFields(head, edits);
  if (head.length === CHUNKED) out += "transfer-encoding: chunked\r\n";
  else if (head.hasLength) out += `content-length: ${head.length}\r\n`;
  if (head.trailersAccepted) out += "te: trailers\r\n";
  if (upgrade !== "") out += `connection: upgrade\r\nupgrade: ${upgrade}\r\n`;
  return `${out}${addedFields(edits)}\r\n`;
}

/** A response without content, or whose length nobody said. */
export const NO_FRAMING = -3;

/**
 * The response as it goes downstream.
 * `framing`: bytes of the body, CHUNKED, UNTIL_CLOSE (a 1.0 client), or NO_FRAMING.
 */
export function writeResponseHead(
  head: ResponseHead,
  edits: HeadEdits | null,
  framing: number,
  connection: string,
): string {
  let out = `HTTP/1.1 ${head.status} ${head.reason}\r\n`;
  out += keptFields(head, edits);
  if (framing === CHUNKED) out += "transfer-encoding: chunked\r\n";
  else if (framing >= 0) out += `content-length: ${framing}\r\n`;
  if (connection !== "") out += `connection: ${connection}\r\n`;
  if (head.status >= 200 && !carriesDate(head, edits)) out += dateLine();
  return `${out}${addedFields(edits)}\r\n`;
}

function carriesDate(head: ResponseHead, edits: HeadEdits | null): boolean {
  if (edits === null) return head.has("date");
  return edits.adds("date") || (head.has("date") && !edits.removed.includes("date"));
}

/** UNTIL_CLOSE is written as nothing at all: the connection says it. */
export function downstreamFraming(head: ResponseHead, requestMethod: string, minor: number): number {
  if (head.status < 200 || head.status === 204) return NO_FRAMING;
  if (requestMethod === "HEAD" || head.status === 304)
    return head.announced === -1 ? NO_FRAMING : head.announced;
  if (head.length >= 0) return head.length;
  return minor === 1 ? CHUNKED : UNTIL_CLOSE;
}

function keptFields(head: HeaderBlock, edits: HeadEdits | null): string {
  let out = "";
  // Start of a run of lines that can go out as they stand, or -1.
  let run = -1;
  let runEnd = 0;
  for (let i = 0; i < head.count; i++) {
    const keep =
      head.kind(i) === Field.Other &&
      (edits === null || edits.removed.length === 0 || !isRemoved(head, i, edits));
    if (keep && head.isCanonical(i)) {
      if (run === -1) run = head.lineStart(i);
      runEnd = head.valueEnd(i) + 2;
      continue;
    }
    if (run !== -1) {
      out += head.bytes.toString("latin1", run, runEnd);
      run = -1;
    }
    if (keep) out += `${head.name(i)}: ${head.value(i)}\r\n`;
  }
  return run === -1 ? out : out + head.bytes.toString("latin1", run, runEnd);
}

function isRemoved(head: HeaderBlock, index: number, edits: HeadEdits): boolean {
  for (let i = 0; i < edits.removed.length; i++) if (head.nameIs(index, edits.removed[i]!)) return true;
  return false;
}

/** The added fields as lines, each value on one line; names come from configuration and were checked there. */
export function addedFields(edits: HeadEdits | null): string {
  if (edits === null) return "";
  let out = "";
  for (let i = 0; i < edits.added.length; i += 2) {
    out += `${edits.added[i]}: ${singleLine(edits.added[i + 1]!)}\r\n`;
  }
  return out;
}

/** Values made from certificates, SNI or user text must not end the line (CVE-2023-27493). */
function singleLine(value: string): string {
  for (let i = 0; i < value.length; i++) {
    const c = value.charCodeAt(i);
    if ((c < 32 && c !== 9) || c === 127 || c > 255) return Array.from(value, printable).join("");
  }
  return value;
}

function printable(character: string): string {
  const c = character.codePointAt(0)!;
  return (c < 32 && c !== 9) || c === 127 || c > 255 ? "_" : character;
}
