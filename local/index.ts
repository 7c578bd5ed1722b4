export type { Mode } from "./mode.ts";
export { PlatformError, type PlatformObject } from "./object.ts";
export {
  type Platform,
  type PlatformOptions,
  type PlatformStatus,
  type PodStatus,
  startPlatform,
} from "./platform.ts";
export { runningSupervisor, stopRunning } from "./supervisor.ts";
