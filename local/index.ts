export { PlatformError, type PlatformObject } from "./object.ts";
export { type Platform, type PlatformOptions, type PlatformStatus, startPlatform } from "./platform.ts";
export { stopRunning } from "./supervisor.ts";
