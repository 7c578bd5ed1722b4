import { type Infer, object } from "../schema.ts";

export const serviceAccountSpec = object({}, { open: true });
export type ServiceAccountSpec = Infer<typeof serviceAccountSpec>;
