import type { DescMessage, MessageShape } from "@bufbuild/protobuf";
import { type Any, anyIs, anyUnpack } from "@bufbuild/protobuf/wkt";
import type { Problems } from "./problems.ts";

/** Undefined if it is of another type or its bytes are broken; the latter is an error. */
export function unpack<D extends DescMessage>(
  any: Any | undefined,
  schema: D,
  problems: Problems,
): MessageShape<D> | undefined {
  if (any === undefined || !anyIs(any, schema)) return undefined;
  try {
    return anyUnpack(any, schema);
  } catch (error) {
    problems.error(`cannot parse ${schema.typeName}: ${error instanceof Error ? error.message : error}`);
    return undefined;
  }
}

/** The message's full name; "" without one. */
export function typeOf(any: Any | undefined): string {
  return any?.typeUrl.slice(any.typeUrl.lastIndexOf("/") + 1) ?? "";
}
