import { object } from "../schema.ts";

export const namespaceSpec = object({}, { open: true });
