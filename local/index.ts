export { checkObjects } from "./check.ts";
export type { PlatformStatus } from "./contract.ts";
export { dialPod } from "./network/network.ts";
export { MACHINE_FLAGS } from "./node-process.ts";
export { PlatformError, type PlatformObject } from "./object.ts";
export { type Platform, type PlatformOptions, startPlatform } from "./platform.ts";
export { isRunning, refuseSecond, stopRunning } from "./supervisor.ts";
