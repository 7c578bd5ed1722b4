import { type DescMessage, type DescService, fromBinary, type Message, toBinary } from "@bufbuild/protobuf";
import type { ServiceDefinition } from "@grpc/grpc-js";

/** The grpc-js definition of a generated service. A Buffer in place of a message is sent as it is (already encoded). */
export function toGrpc(service: DescService): ServiceDefinition {
  const encode =
    (schema: DescMessage) =>
    (message: Message | Buffer): Buffer =>
      Buffer.isBuffer(message) ? message : Buffer.from(toBinary(schema, message));
  const decode =
    (schema: DescMessage) =>
    (bytes: Buffer): Message =>
      fromBinary(schema, bytes);
  return Object.fromEntries(
    service.methods.map((method) => [
      method.localName,
      {
        path: `/${service.typeName}/${method.name}`,
        requestStream: method.methodKind === "client_streaming" || method.methodKind === "bidi_streaming",
        responseStream: method.methodKind === "server_streaming" || method.methodKind === "bidi_streaming",
        requestSerialize: encode(method.input),
        requestDeserialize: decode(method.input),
        responseSerialize: encode(method.output),
        responseDeserialize: decode(method.output),
      },
    ]),
  );
}
