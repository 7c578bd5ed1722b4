/** The arithmetic of a rolling update, as Kubernetes' deployment controller does it. Pure. */

/** A number of pods, or "25%" of them. */
export type IntOrPercent = number | string;

export interface RollingBounds {
  /** Pods above `replicas` that may exist at a time. */
  readonly surge: number;
  /** Pods of `replicas` that may be missing at a time. */
  readonly unavailable: number;
}

/** A percentage of a surge is rounded up, of what may be missing down; both zero would never move, so one may be missing. */
export function rollingBounds(
  replicas: number,
  maxSurge: IntOrPercent,
  maxUnavailable: IntOrPercent,
): RollingBounds {
  const surge = percentOf(maxSurge, replicas, Math.ceil);
  const unavailable = Math.min(replicas, percentOf(maxUnavailable, replicas, Math.floor));
  return surge === 0 && unavailable === 0 ? { surge, unavailable: 1 } : { surge, unavailable };
}

/** Of a percentage so many of `total`; a number as it is. */
export function percentOf(value: IntOrPercent, total: number, round: (n: number) => number): number {
  if (typeof value === "number") return value;
  return round((Number.parseInt(value, 10) * total) / 100);
}

/** Pods that do not end already. */
export interface Counts {
  readonly fresh: { readonly all: number; readonly available: number };
  readonly old: { readonly all: number; readonly available: number };
}

export interface Step {
  readonly create: number;
  readonly removeFresh: number;
  /** Of the old: first those that serve nobody, then as many of the others. */
  readonly removeUnavailable: number;
  readonly removeAvailable: number;
}

/** What can be done now without leaving the bounds. */
export function rollingStep(replicas: number, { surge, unavailable }: RollingBounds, counts: Counts): Step {
  const { fresh, old } = counts;
  const total = fresh.all + old.all;
  const create = Math.max(0, Math.min(replicas + surge - total, replicas - fresh.all));
  const removeFresh = Math.max(0, fresh.all - replicas);
  const least = replicas - unavailable;
  // New ones that are not available yet are not to be counted on.
  const may = Math.max(0, total - least - (fresh.all - fresh.available));
  const removeUnavailable = Math.min(may, old.all - old.available);
  const spare = Math.max(0, fresh.available + old.available - least);
  const removeAvailable = Math.min(may - removeUnavailable, old.available, spare);
  return { create, removeFresh, removeUnavailable, removeAvailable };
}
