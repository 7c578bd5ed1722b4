/** The xDS protocol: names, packed resources, and both ends of a stream. */
export { type PackedResource, packAny, packResource, type ResourceSet } from "./any.ts";
export {
  type Apply,
  DeltaClientState,
  type Rejection,
  SotwClientState,
  type Update,
} from "./client/state.ts";
export { toGrpc } from "./grpc.ts";
export { hashBytes } from "./hash.ts";
export * from "./resource-names.ts";
export { DeltaStream } from "./server/delta.ts";
export { SotwStream } from "./server/sotw.ts";
export type { StreamEvent, TypeStatus } from "./server/watch.ts";
export { inPushOrder, isWildcardType, shortType, TYPE } from "./type-urls.ts";
