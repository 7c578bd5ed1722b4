import { type Infer, list, object, required, str } from "../schema.ts";

export const referenceGrantSpec = object({
  from: required(list(object({ group: str, kind: required(str), namespace: required(str) }))),
  to: required(list(object({ group: str, kind: required(str), name: str }))),
});
export type ReferenceGrantSpec = Infer<typeof referenceGrantSpec>;
