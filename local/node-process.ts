/**
 * For the machines of a mesh on a laptop: a young generation of 4 MiB instead of 16. A sidecar under load holds 136 MiB
 * instead of 180, and a request costs the same (Node 24.21, bench/http1); a control plane of seven pods holds 79 MiB of its
 * own instead of 102 (proportional set size, examples/bookinfo).
 */
export const MACHINE_FLAGS: readonly string[] = ["--max-semi-space-size=4"];
