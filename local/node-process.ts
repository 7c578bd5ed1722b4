/**
 * A young generation of 4 MiB instead of 16: a sidecar under load holds 136 MiB instead of 180, and a request costs the
 * same (Node 24.21, bench/http1).
 */
export const SIDECAR_FLAGS: readonly string[] = ["--max-semi-space-size=4"];
