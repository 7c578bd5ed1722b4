export { buildWorld } from "./build-world.ts";
export { endpointsOf } from "./endpoints.ts";
export { KINDS } from "./kinds.ts";
export { FileLoader, type Loaded, type LoadResult, load, MAX_BYTES, tooLarge } from "./load.ts";
export { explainMtls } from "./peer-authentication/resolve.ts";
export { resolve } from "./resolve.ts";
export { type Issue, sayIssue } from "./schema.ts";
export { validate } from "./validate.ts";
export * from "./world.ts";
