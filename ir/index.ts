export * from "./authz.ts";
export * from "./cluster.ts";
export * from "./match.ts";
export * from "./route.ts";
export * from "./source.ts";
export * from "./workload.ts";
