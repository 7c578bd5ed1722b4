import { object, required, str } from "../schema.ts";

/** networking.k8s.io/v1 IPAddress: metadata.name is the virtual address of the Service in parentRef. */
export const ipAddressSpec = object({
  parentRef: required(object({ group: str, resource: required(str), namespace: str, name: required(str) })),
});
