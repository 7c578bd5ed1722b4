/** Spans of the mesh: received over OTLP, kept in the state directory, read by the admin API. */
export { Forwarder } from "./forward.ts";
export { createOtlpServer } from "./receiver.ts";
export { type TraceQuery, TraceStore } from "./store.ts";
