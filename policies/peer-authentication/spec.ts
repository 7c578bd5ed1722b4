import { type Infer, labels, map, object, oneOf } from "../schema.ts";

const mtls = object({ mode: oneOf("UNSET", "DISABLE", "PERMISSIVE", "STRICT") });
export const peerAuthenticationSpec = object({
  selector: object({ matchLabels: labels }),
  mtls,
  portLevelMtls: map(mtls),
});
export type PeerAuthenticationSpec = Infer<typeof peerAuthenticationSpec>;
