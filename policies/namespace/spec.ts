import { type Infer, object } from "../schema.ts";

export const namespaceSpec = object({}, { open: true });
export type NamespaceSpec = Infer<typeof namespaceSpec>;
