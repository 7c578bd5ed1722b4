import { expect, test } from "vitest";
import { backOffMs } from "./retry.ts";

test("the back-off is Envoy's: jittered from 0, doubled, at most the maximum", () => {
  const policy = { backOffBaseMs: 25, backOffMaxMs: 250 };
  expect([1, 2, 3, 4, 5, 60].map((retry) => backOffMs(policy, retry, 0.999_999_9))).toEqual(
    [25, 75, 175, 250, 250, 250].map((most) => expect.closeTo(most, 2)),
  );
  expect(backOffMs(policy, 5, 0)).toBe(0);
});
