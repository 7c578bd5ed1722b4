import { validateAuthorizationPolicies } from "./authorization-policy/validate.ts";
import { validateDestinationRules } from "./destination-rule/validate.ts";
import { validateGateways } from "./gateway/validate.ts";
import { validateKubeGateways } from "./gateway-api/validate.ts";
import { validateHttpRoutes } from "./http-route/validate.ts";
import { validatePeerAuthentications } from "./peer-authentication/validate.ts";
import type { Issue } from "./schema.ts";
import { validateServices } from "./service/validate.ts";
import { validateVirtualServices } from "./virtual-service/validate.ts";
import type { World } from "./world.ts";
import { place, runChecks, type WorldCheck } from "./world-check.ts";

const validateDuplicates: WorldCheck = (world, say) => {
  for (const { object, first } of world.duplicates)
    say(
      "error",
      "duplicate",
      object,
      ["metadata", "name"],
      `already defined at ${place(first)}, which counts: remove or rename one of them`,
    );
};

const CHECKS: readonly WorldCheck[] = [
  validateDuplicates,
  validateVirtualServices,
  validateDestinationRules,
  validateAuthorizationPolicies,
  validatePeerAuthentications,
  validateGateways,
  validateKubeGateways,
  validateHttpRoutes,
  validateServices,
];

/** Checks that need the whole world: duplicates, conflicting or unknown hosts, subsets, delegates, idle policies. */
export function validate(world: World): Issue[] {
  return runChecks(world, CHECKS);
}
