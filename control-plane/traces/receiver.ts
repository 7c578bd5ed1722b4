/** OTLP over HTTP (opentelemetry.io/docs/specs/otlp, OTLP/HTTP): POST /v1/traces, protobuf or JSON, plain or gzip. */
import { createServer, type IncomingMessage, type Server } from "node:http";
import { gunzipSync } from "node:zlib";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import type { Logger } from "#lib/log.ts";
import type { RawExport } from "./forward.ts";
import { type Decoded, decodeJson, decodeProtobuf } from "./otlp.ts";
import type { TraceStore } from "./store.ts";

/** Of a body, before and after gzip. */
const MAX_BODY = 4 * 1024 * 1024;

class Refusal extends Error {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** The receiver; the caller makes it listen. `forward` gets every export that was understood. */
export function createOtlpServer(
  store: TraceStore,
  log: Logger,
  forward: (one: RawExport) => void = () => {},
): Server {
  return createServer((request, response) => {
    receive(request, store).then(
      ({ json, body, refused }) => {
        forward({ body, contentType: json ? JSON_TYPE : PROTOBUF_TYPE });
        if (refused.length > 0) log.warn("spans refused", { count: refused.length, first: refused[0] });
        const answer = success(json, refused);
        response.writeHead(200, { "content-type": json ? JSON_TYPE : PROTOBUF_TYPE }).end(answer);
      },
      (error: Error) => {
        const status = error instanceof Refusal ? error.status : 500;
        log.warn("trace export refused", { status, reason: error.message });
        // An exporter shows this text; a status message in protobuf would only be read by a program.
        response
          .writeHead(status, { "content-type": JSON_TYPE, connection: "close" })
          .end(JSON.stringify({ message: error.message }));
      },
    );
  });
}

const JSON_TYPE = "application/json";
const PROTOBUF_TYPE = "application/x-protobuf";

async function receive(request: IncomingMessage, store: TraceStore) {
  const path = (request.url ?? "").split("?")[0];
  if (path !== "/v1/traces") throw new Refusal(404, `no such endpoint: ${path}; traces go to /v1/traces`);
  if (request.method !== "POST") throw new Refusal(405, `${request.method} is not served here: use POST`);
  const type = (request.headers["content-type"] ?? "").split(";")[0]?.trim().toLowerCase();
  if (type !== JSON_TYPE && type !== PROTOBUF_TYPE) {
    throw new Refusal(415, `content-type "${type}": send ${PROTOBUF_TYPE} or ${JSON_TYPE}`);
  }
  const body = unzip(await read(request), request.headers["content-encoding"]);
  const json = type === JSON_TYPE;
  let decoded: Decoded;
  try {
    decoded = json ? decodeJson(body.toString("utf8")) : decodeProtobuf(body);
  } catch (error) {
    throw new Refusal(400, `not an OTLP trace export as ${type}: ${(error as Error).message}`);
  }
  const full = store.add(decoded.spans);
  const overflow = Array<string>(full).fill("its trace has the most spans that are kept");
  return { json, body, refused: [...decoded.refused, ...overflow] };
}

async function read(request: IncomingMessage): Promise<Buffer> {
  const tooLarge = new Refusal(413, `the body is larger than ${MAX_BODY} bytes: send smaller batches`);
  if (Number(request.headers["content-length"] ?? 0) > MAX_BODY) throw tooLarge;
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_BODY) throw tooLarge;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function unzip(body: Buffer, encoding: string | undefined): Buffer {
  if (encoding === undefined || encoding === "" || encoding === "identity") return body;
  if (encoding.toLowerCase() !== "gzip") {
    throw new Refusal(415, `content-encoding "${encoding}": send gzip or none`);
  }
  try {
    return gunzipSync(body, { maxOutputLength: MAX_BODY });
  } catch (error) {
    const tooLarge = (error as NodeJS.ErrnoException).code === "ERR_BUFFER_TOO_LARGE";
    throw tooLarge
      ? new Refusal(413, `the unpacked body is larger than ${MAX_BODY} bytes: send smaller batches`)
      : new Refusal(400, `the body is not gzip: ${(error as Error).message}`);
  }
}

/** ExportTraceServiceResponse; `partial_success` (1) { rejected_spans (1), error_message (2) } when spans were refused. */
function success(json: boolean, refused: readonly string[]): string | Buffer {
  const [first] = refused;
  if (json) {
    const partialSuccess = { rejectedSpans: String(refused.length), errorMessage: first };
    return JSON.stringify(first === undefined ? {} : { partialSuccess });
  }
  if (first === undefined) return Buffer.alloc(0);
  const writer = new BinaryWriter();
  writer.uint32(tag(1, WireType.LengthDelimited)).fork();
  writer.uint32(tag(1, WireType.Varint)).int64(refused.length);
  writer.uint32(tag(2, WireType.LengthDelimited)).string(first);
  return Buffer.from(writer.join().finish());
}

const tag = (field: number, type: WireType): number => (field << 3) | type;
