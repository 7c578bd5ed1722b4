import { validateSelecting } from "../selecting.ts";
import { objectsOf } from "../world.ts";
import type { WorldCheck } from "../world-check.ts";

export const validateAuthorizationPolicies: WorldCheck = (world, say) => {
  for (const p of objectsOf(world, "security.istio.io/AuthorizationPolicy")) validateSelecting(world, say, p);
};
