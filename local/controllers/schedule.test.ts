import { expect, test } from "vitest";
import type { PlatformObject } from "../object.ts";
import { lastDue, readSchedule } from "./schedule.ts";

const cron = (schedule: string, timeZone?: string): PlatformObject => ({
  apiVersion: "batch/v1",
  kind: "CronJob",
  metadata: { name: "c" },
  spec: { schedule, ...(timeZone === undefined ? {} : { timeZone }) },
  source: { file: "c.yaml", line: 7 },
});
const at = (text: string): number => Date.parse(text);
const next = (schedule: string, from: string, zone = "Etc/UTC"): string | undefined => {
  const ms = readSchedule(cron(schedule, zone)).next(at(from));
  return ms === undefined ? undefined : new Date(ms).toISOString();
};

test.for([
  ["*/15 * * * *", "2026-11-28T10:07:00Z", "2026-11-28T10:15:00.000Z"],
  ["30 9 * * mon-fri", "2026-11-28T10:00:00Z", "2026-11-30T09:30:00.000Z"],
  ["0 0 1 JAN *", "2026-11-28T10:00:00Z", "2027-01-01T00:00:00.000Z"],
  // Day of month or day of week, where both are given (cron(5)).
  ["0 0 13 * 5", "2026-11-28T10:00:00Z", "2026-12-04T00:00:00.000Z"],
  ["@daily", "2026-11-28T10:00:00Z", "2026-11-29T00:00:00.000Z"],
  ["@every 1h30m", "2026-11-28T10:00:00Z", "2026-11-28T11:30:00.000Z"],
] as const)("%s after %s", ([schedule, from, expected]) => {
  expect(next(schedule, from)).toBe(expected);
});

test("timeZone, also over a change of the clocks", () => {
  expect(next("0 9 * * *", "2026-06-01T08:00:00Z", "Europe/Berlin")).toBe("2026-06-02T07:00:00.000Z");
  expect(next("0 9 * * *", "2026-11-28T07:00:00Z", "Europe/Berlin")).toBe("2026-11-28T08:00:00.000Z");
});

test("of the times that were missed the last one counts, however many there are", () => {
  const every = readSchedule(cron("* * * * *", "Etc/UTC"));
  const started = performance.now();
  expect(lastDue(every, at("2024-01-01T00:00:00Z"), at("2026-11-28T10:00:30Z"))).toBe(
    at("2026-11-28T10:00:00Z"),
  );
  expect(performance.now() - started).toBeLessThan(5_000);
  expect(lastDue(every, at("2026-11-28T10:00:00Z"), at("2026-11-28T10:00:30Z"))).toBeUndefined();
});

test("what is no schedule is refused with its place", () => {
  expect(() => readSchedule(cron("61 * * * *"))).toThrow(
    /^c\.yaml:7: CronJob default\/c: spec\.schedule: "61 \* \* \* \*" is no cron schedule: /,
  );
});
