import { bool, list, object, port, required, str } from "../schema.ts";

/** An EndpointSlice has no `spec`: these are its top-level fields. */
export const endpointSliceSpec = object(
  {
    addressType: str,
    endpoints: list(
      object(
        { addresses: required(list(str)), conditions: object({ ready: bool }, { open: true }) },
        { open: true },
      ),
    ),
    ports: list(object({ name: str, port, protocol: str }, { open: true })),
  },
  { open: true },
);
