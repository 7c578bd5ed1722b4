// A sample that must fail: what the sidecar may not import.
export { pipeline } from "#control-plane/pipeline.ts";
export { issue } from "../certs/authority/index.ts";
export const lazily = () => import("#ir/index.ts");
