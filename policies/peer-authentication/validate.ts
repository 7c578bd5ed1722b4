import { validateSelecting } from "../selecting.ts";
import { objectsOf } from "../world.ts";
import type { WorldCheck } from "../world-check.ts";

export const validatePeerAuthentications: WorldCheck = (world, say) => {
  for (const p of objectsOf(world, "security.istio.io/PeerAuthentication")) validateSelecting(world, say, p);
};
