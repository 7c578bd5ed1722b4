/** ALPN names of HTTP/2 and what stands for HTTP/1.1 beside them. */
const OF_HTTP1: Readonly<Record<string, string>> = { h2: "http/1.1", "istio-h2": "istio-http/1.1" };

/**
 * What may be agreed on where http1/ speaks: configurations name HTTP/2 for whoever has it, and who agrees on what it
 * does not speak gets an empty answer. Order is kept, each name comes once.
 */
export function http1Only(protocols: readonly string[]): string[] {
  return [...new Set(protocols.map((protocol) => OF_HTTP1[protocol] ?? protocol))];
}
