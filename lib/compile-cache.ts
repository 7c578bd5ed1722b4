import { fileURLToPath } from "node:url";

/**
 * Where our processes keep compiled and type-stripped code: with it a sidecar starts with 490 ms of CPU instead of 750,
 * and with 20 MiB less. Filled when a process ends. It is executed, so it lies where the code itself does, and goes with
 * it; where the package is not ours to write, Node does without.
 */
export const COMPILE_CACHE =
  process.env["NODE_COMPILE_CACHE"] || fileURLToPath(new URL("../node_modules/.cache/weft", import.meta.url));
