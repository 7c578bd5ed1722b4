/**
 * Why a message or an exchange failed: small numbers on the hot path, one table for status, reason and the
 * response-code detail. Detail names are Envoy's where Envoy has one (docs: "Response Code Details").
 */
export const Verdict = {
  Ok: 0,
  NeedMore: 1,
  BadRequestLine: 2,
  BadVersion: 3,
  BadHeader: 4,
  BadFraming: 5,
  UnknownTransferCoding: 6,
  BadHost: 7,
  TargetTooLong: 8,
  HeadTooLarge: 9,
  TooManyHeaders: 10,
  BadChunk: 11,
  BadConnectionHeader: 12,
  BadExpect: 13,
  HeadTimeout: 14,
  BadResponse: 15,
  ConnectFailure: 16,
  UpstreamReset: 17,
  ResponseTimeout: 18,
  DownstreamGone: 19,
  PrematureEnd: 20,
  StreamIdle: 21,
  RequestTimeout: 22,
  MaxStreamDuration: 23,
} as const;
export type Verdict = (typeof Verdict)[keyof typeof Verdict];

export interface Failure {
  readonly status: number;
  readonly detail: string;
}

const FAILURES: Readonly<Record<Verdict, Failure>> = {
  [Verdict.Ok]: { status: 200, detail: "via_upstream" },
  [Verdict.NeedMore]: { status: 200, detail: "" },
  [Verdict.BadRequestLine]: { status: 400, detail: "http1.codec_error" },
  [Verdict.BadVersion]: { status: 505, detail: "http1.codec_error" },
  [Verdict.BadHeader]: { status: 400, detail: "http1.invalid_characters" },
  [Verdict.BadFraming]: { status: 400, detail: "http1.content_length_not_allowed" },
  [Verdict.UnknownTransferCoding]: { status: 501, detail: "http1.invalid_transfer_encoding" },
  [Verdict.BadHost]: { status: 400, detail: "http1.invalid_authority" },
  [Verdict.TargetTooLong]: { status: 414, detail: "http1.headers_too_large" },
  [Verdict.HeadTooLarge]: { status: 431, detail: "http1.headers_too_large" },
  [Verdict.TooManyHeaders]: { status: 431, detail: "http1.too_many_headers" },
  [Verdict.BadChunk]: { status: 400, detail: "http1.codec_error" },
  [Verdict.BadConnectionHeader]: { status: 400, detail: "http1.connection_header_rejected" },
  [Verdict.BadExpect]: { status: 417, detail: "http1.expectation_failed" },
  [Verdict.HeadTimeout]: { status: 408, detail: "request_header_timeout" },
  [Verdict.BadResponse]: { status: 502, detail: "upstream_reset_before_response_started{protocol_error}" },
  [Verdict.ConnectFailure]: {
    status: 503,
    detail: "upstream_reset_before_response_started{connection_failure}",
  },
  [Verdict.UpstreamReset]: {
    status: 503,
    detail: "upstream_reset_before_response_started{connection_termination}",
  },
  [Verdict.ResponseTimeout]: { status: 504, detail: "response_timeout" },
  [Verdict.DownstreamGone]: { status: 499, detail: "downstream_remote_disconnect" },
  [Verdict.PrematureEnd]: { status: 400, detail: "http1.codec_error" },
  // 504 instead where the whole request had come.
  [Verdict.StreamIdle]: { status: 408, detail: "stream_idle_timeout" },
  [Verdict.RequestTimeout]: { status: 408, detail: "request_overall_timeout" },
  [Verdict.MaxStreamDuration]: { status: 408, detail: "max_duration_timeout" },
};

/** Status and response-code detail, in Envoy's words. */
export function failureOf(verdict: Verdict): Failure {
  return FAILURES[verdict];
}

const RESETS: Partial<Readonly<Record<Verdict, string>>> = {
  [Verdict.BadResponse]: "protocol error",
  [Verdict.ConnectFailure]: "remote connection failure",
  [Verdict.UpstreamReset]: "connection termination",
};

/** What a client reads when no host answered, in the words that people search for: Envoy's, less what it tells of TLS and addresses. */
export function upstreamFailureBody(verdict: Verdict, retried: boolean): string {
  if (verdict === Verdict.ResponseTimeout) return "upstream request timeout";
  const again = retried ? "retried and the latest " : "";
  return `upstream connect error or disconnect/reset before headers. ${again}reset reason: ${RESETS[verdict] ?? "local reset"}`;
}

/** What a client reads when a limit of its stream ran out: Envoy's words. */
export function limitBody(verdict: Verdict): string {
  if (verdict === Verdict.StreamIdle) return "stream timeout";
  return verdict === Verdict.RequestTimeout ? "request timeout" : "downstream duration timeout";
}

const REASONS: Readonly<Record<number, string>> = {
  200: "OK",
  301: "Moved Permanently",
  302: "Found",
  303: "See Other",
  307: "Temporary Redirect",
  308: "Permanent Redirect",
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  408: "Request Timeout",
  413: "Payload Too Large",
  414: "URI Too Long",
  417: "Expectation Failed",
  421: "Misdirected Request",
  426: "Upgrade Required",
  429: "Too Many Requests",
  431: "Request Header Fields Too Large",
  500: "Internal Server Error",
  501: "Not Implemented",
  502: "Bad Gateway",
  503: "Service Unavailable",
  504: "Gateway Timeout",
  505: "HTTP Version Not Supported",
};

export function reasonOf(status: number): string {
  return REASONS[status] ?? "Status";
}
