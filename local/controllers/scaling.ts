import type { Done } from "../contract.ts";
import type { PlatformObject } from "../object.ts";
import { refuse, spoken } from "./controller.ts";

/** How many pods an autoscaler wants; it goes before the file and `weft scale`. */
export interface Autoscaled {
  /** For people: "HorizontalPodAutoscaler default/web". */
  readonly by: string;
  readonly replicas: number;
}

/** What an autoscaler may scale. */
export interface Scalable {
  readonly replicas: number;
  /** Without the autoscaler. */
  readonly fileReplicas: number;
  autoscale(by: Autoscaled | undefined): void;
}

/** Refused with 409 while an autoscaler has the say: it would take the number back at once. */
export function scaleByHand(
  object: PlatformObject,
  autoscaled: Autoscaled | undefined,
  scale: () => Done,
): Done {
  if (autoscaled === undefined) return scale();
  return refuse(
    409,
    `${spoken(object)} is scaled by ${autoscaled.by}: change its minReplicas or maxReplicas`,
  );
}

export function isScalable(controller: object | undefined): controller is Scalable {
  return controller !== undefined && "autoscale" in controller;
}
