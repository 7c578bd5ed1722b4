import { expect, test } from "vitest";
import { rollingBounds, rollingStep } from "./rolling.ts";

// As in Kubernetes' deployment utilities: ResolveFenceposts.
test.for([
  [10, "25%", "25%", { surge: 3, unavailable: 2 }],
  [1, "25%", "25%", { surge: 1, unavailable: 0 }],
  [4, "25%", "25%", { surge: 1, unavailable: 1 }],
  [3, 0, "25%", { surge: 0, unavailable: 1 }],
  [3, "0%", "10%", { surge: 0, unavailable: 1 }],
  [10, "100%", "50%", { surge: 10, unavailable: 5 }],
  [2, 5, 5, { surge: 5, unavailable: 2 }],
  [0, "25%", "25%", { surge: 0, unavailable: 1 }],
] as const)("%i replicas, surge %s, unavailable %s", ([replicas, surge, unavailable, expected]) => {
  expect(rollingBounds(replicas, surge, unavailable)).toEqual(expected);
});

test("a rollout never leaves its bounds, and always ends", () => {
  for (let replicas = 0; replicas <= 7; replicas++)
    for (const surge of [0, 1, 3, "25%", "100%"])
      for (const unavailable of [0, 1, 2, "50%", "100%"])
        for (let brokenOld = 0; brokenOld <= replicas; brokenOld++)
          roll(replicas, surge, unavailable, brokenOld);
});

/** Pods that are made become available one step later. */
function roll(replicas: number, surge: number | string, unavailable: number | string, broken: number): void {
  const bounds = rollingBounds(replicas, surge, unavailable);
  const what = JSON.stringify({ replicas, surge, unavailable, broken });
  const fresh = { all: 0, available: 0 };
  const old = { all: replicas, available: replicas - broken };
  for (let turn = 0; fresh.available < replicas || old.all > 0; turn++) {
    expect(turn, what).toBeLessThan(50);
    const before = fresh.available + old.available;
    const step = rollingStep(replicas, bounds, { fresh, old });
    old.all -= step.removeUnavailable + step.removeAvailable;
    old.available -= step.removeAvailable;
    const after = fresh.available + old.available;
    expect(after, what).toBeGreaterThanOrEqual(Math.min(before, replicas - bounds.unavailable));
    fresh.available = fresh.all;
    fresh.all += step.create - step.removeFresh;
    expect(fresh.all + old.all, what).toBeLessThanOrEqual(Math.max(replicas + bounds.surge, replicas));
  }
}

test("new pods that never serve stop the rollout: as many old ones stay as must", () => {
  const bounds = rollingBounds(4, 1, 1);
  const first = rollingStep(4, bounds, { fresh: { all: 0, available: 0 }, old: { all: 4, available: 4 } });
  expect(first).toMatchObject({ create: 1, removeAvailable: 1 });
  const second = rollingStep(4, bounds, { fresh: { all: 1, available: 0 }, old: { all: 3, available: 3 } });
  expect(second).toMatchObject({ create: 1, removeAvailable: 0, removeUnavailable: 0 });
  const third = rollingStep(4, bounds, { fresh: { all: 2, available: 0 }, old: { all: 3, available: 3 } });
  expect(third).toEqual({ create: 0, removeFresh: 0, removeUnavailable: 0, removeAvailable: 0 });
});
