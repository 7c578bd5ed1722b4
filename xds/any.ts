import { create, type DescMessage, type MessageShape, toBinary } from "@bufbuild/protobuf";
import { type Any, AnySchema } from "@bufbuild/protobuf/wkt";
import { hashBytes } from "./hash.ts";

/** A resource encoded once; every stream that sends it shares the bytes. */
export interface PackedResource {
  readonly name: string;
  /** Hash of the content. */
  readonly version: string;
  readonly any: Any;
}

/** What one proxy should have: type URL -> resource name -> resource. Never changed after it is handed over. */
export type ResourceSet = ReadonlyMap<string, ReadonlyMap<string, PackedResource>>;

function packAny<D extends DescMessage>(schema: D, message: MessageShape<D>): Any {
  return create(AnySchema, {
    typeUrl: `type.googleapis.com/${schema.typeName}`,
    value: toBinary(schema, message),
  });
}

/** Encoded once; the version is a hash of the bytes. */
export function packResource<D extends DescMessage>(
  schema: D,
  name: string,
  message: MessageShape<D>,
): PackedResource {
  const any = packAny(schema, message);
  return { name, version: hashBytes(any.value), any };
}
