/** The xDS protocol: names, packed resources, and both ends of a stream. */
export { type PackedResource, packResource, type ResourceSet } from "./any.ts";
export { DeltaClientState, SotwClientState, type Update } from "./client/state.ts";
export { toGrpc } from "./grpc.ts";
export { DeltaStream } from "./server/delta.ts";
export { LimitExceeded } from "./server/limits.ts";
export { SotwStream } from "./server/sotw.ts";
export type { StreamEvent, TypeStatus } from "./server/watch.ts";
export { shortType, TYPE } from "./type-urls.ts";
