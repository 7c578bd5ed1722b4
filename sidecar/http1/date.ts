// hot path
/** The Date field (RFC 9110 6.6.1): a proxy adds it to what it forwards without one. Made once a second. */

let second = 0;
let line = "";

/** With its CRLF. */
export function dateLine(): string {
  const now = Math.floor(Date.now() / 1000);
  if (now !== second) {
    second = now;
    line = `date: ${new Date(now * 1000).toUTCString()}\r\n`;
  }
  return line;
}
