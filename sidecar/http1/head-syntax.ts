// hot path
/** What may stand in a head that we write: names (RFC 9110 5.1), values (5.5), targets (RFC 9112 3.2), authorities (RFC 3986 3.2). */
import { TOKEN } from "./header-block.ts";

/** Longest request target taken, and written after a rewrite; RFC 9112 3 asks for at least 8000. */
export const MAX_TARGET_BYTES = 16 * 1024;

/** 1 = may stand in a target; "#" is told apart where a fragment is cut or, in configuration, encoded. */
export const TARGET = new Uint8Array(256);
for (let c = 33; c < 127; c++) TARGET[c] = 1;
const HOST = new Uint8Array(256);
for (const c of "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~!$&'()*+;=%")
  HOST[c.charCodeAt(0)] = 1;

/**
 * Fields that say how a message is framed, what the connection is used for, or that belong to one hop: the codec alone
 * writes them. Configuration that names them would double them or cut a message short.
 */
const CODEC_FIELDS = [
  "connection",
  "content-length",
  "expect",
  "http2-settings",
  "keep-alive",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
];

/** @param name lower case */
export function isCodecField(name: string): boolean {
  return CODEC_FIELDS.includes(name);
}

/** A token (RFC 9110 5.6.2). */
export function isFieldName(name: string): boolean {
  for (let i = 0; i < name.length; i++) {
    const c = name.charCodeAt(i);
    if (c > 255 || TOKEN[c] === 0) return false;
  }
  return name !== "";
}

/** Origin-form, of a length that the next hop takes. */
export function isOriginForm(target: string): boolean {
  if (target.charCodeAt(0) !== 47 || target.length > MAX_TARGET_BYTES) return false;
  for (let i = 0; i < target.length; i++) {
    const c = target.charCodeAt(i);
    if (c > 255 || TARGET[c] === 0) return false;
  }
  return true;
}

/** uri-host [":" port] of RFC 9110 7.2, port at most 65535, no userinfo. */
export function isAuthority(text: string): boolean {
  let at = 0;
  if (text.charCodeAt(0) === 91) {
    at = text.indexOf("]") + 1;
    if (at < 4) return false;
    for (let i = 1; i < at - 1; i++) {
      const c = text.charCodeAt(i) | 32;
      const hex = (c >= 48 && c <= 57) || (c >= 97 && c <= 102);
      if (!hex && text[i] !== ":" && text[i] !== ".") return false;
    }
  } else {
    while (at < text.length && text.charCodeAt(at) < 256 && HOST[text.charCodeAt(at)] === 1) at++;
    if (at === 0) return false;
  }
  if (at === text.length) return true;
  if (text.charCodeAt(at) !== 58 || text.length - at > 6 || text.length - at < 2) return false;
  let port = 0;
  for (let i = at + 1; i < text.length; i++) {
    const digit = text.charCodeAt(i) - 48;
    if (digit < 0 || digit > 9) return false;
    port = port * 10 + digit;
  }
  return port <= 65535;
}
