"""An OTLP/HTTP receiver on OpenTelemetry's own Python messages: a line of JSON per span, or per export that is wrong.

Usage: PYTHONPATH=<opentelemetry-proto> otlp_receiver.py; the first line is the port."""
import base64
import gzip
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from google.protobuf import json_format
from google.protobuf.unknown_fields import UnknownFieldSet
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status


def say(**line):
    print(json.dumps(line), flush=True)


def from_json(text):
    def ids(value):
        if isinstance(value, list):
            return [ids(item) for item in value]
        if not isinstance(value, dict):
            return value
        return {
            key: base64.b64encode(bytes.fromhex(child)).decode()
            if key in ("traceId", "spanId", "parentSpanId")
            else ids(child)
            for key, child in value.items()
        }

    # Strict: a field that OpenTelemetry does not know is an error.
    return json_format.ParseDict(ids(json.loads(text)), ExportTraceServiceRequest())


def from_protobuf(body):
    request = ExportTraceServiceRequest.FromString(body)
    for resource in request.resource_spans:
        for message in (request, resource, *(s for scope in resource.scope_spans for s in scope.spans)):
            if len(UnknownFieldSet(message)) > 0:
                raise ValueError(f"unknown fields in {type(message).__name__}")
    return request


def plain(attributes):
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in attributes}


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            if self.path != "/v1/traces":
                raise ValueError(f"path {self.path}")
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            kind = self.headers["content-type"]
            request = from_json(body) if kind == "application/json" else from_protobuf(body)
        except Exception as problem:  # whatever is wrong with an export, the test shall read it
            say(problem=f"{type(problem).__name__}: {problem}")
            self.answer(400, b"")
            return
        for resource in request.resource_spans:
            service = plain(resource.resource.attributes).get("service.name", "")
            for scope in resource.scope_spans:
                for span in scope.spans:
                    say(
                        traceId=span.trace_id.hex(),
                        spanId=span.span_id.hex(),
                        parentSpanId=span.parent_span_id.hex(),
                        name=span.name,
                        kind=Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
                        service=service,
                        startNs=str(span.start_time_unix_nano),
                        endNs=str(span.end_time_unix_nano),
                        error=span.status.code == Status.STATUS_CODE_ERROR,
                        attributes=plain(span.attributes),
                    )
        self.answer(200, ExportTraceServiceResponse().SerializeToString())

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
print(server.server_address[1], flush=True)
server.serve_forever()
