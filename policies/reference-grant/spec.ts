import { list, object, required, str } from "../schema.ts";

export const referenceGrantSpec = object({
  from: required(list(object({ group: required(str), kind: required(str), namespace: required(str) }))),
  to: required(list(object({ group: required(str), kind: required(str), name: str }))),
});
