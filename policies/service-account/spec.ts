import { object } from "../schema.ts";

export const serviceAccountSpec = object({}, { open: true });
