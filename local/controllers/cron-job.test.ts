import { expect, test } from "vitest";
import { TestClock } from "#lib/clock.ts";
import { localPlatform, manifest } from "#test/harness/local-platform.ts";
import type { PlatformObject } from "../object.ts";

const local = localPlatform();
const soon = { timeout: 15_000, interval: 10 };
const MINUTE = 60_000;
/** A whole minute, so that names can be told beforehand. */
const START = Date.parse("2026-11-28T10:00:00Z");
const minute = (n: number): string => `tick-${START / MINUTE + n}`;

function tick(script: string, spec: object = {}): PlatformObject {
  const { spec: jobSpec } = manifest(local.dir, {
    kind: "Job",
    container: { command: ["sh", "-c", script] },
    pod: { restartPolicy: "Never" },
    spec: { backoffLimit: 0 },
  });
  return {
    apiVersion: "batch/v1",
    kind: "CronJob",
    metadata: { name: "tick" },
    spec: { schedule: "* * * * *", timeZone: "Etc/UTC", ...spec, jobTemplate: { spec: jobSpec } },
    source: { file: `${local.dir}/tick.yaml`, line: 1 },
  };
}
const cron = () => local.workload("tick", "CronJob").cron;
/** "name Complete", "name Failed", "name" while it runs. */
const jobs = (): string[] =>
  local.platform
    .status()
    .workloads.filter((w) => w.kind === "Job")
    .map((w) => [w.name, ...w.conditions.map((c) => c.type)].join(" "));

test("a Job each time it is due, with history limits; suspend holds it", async () => {
  const clock = new TestClock(START);
  await local.start([tick("exit 0", { successfulJobsHistoryLimit: 2 })], { clock });
  expect(cron()).toMatchObject({ active: [], nextSchedule: "2026-11-28T10:01:00.000Z" });
  for (let n = 1; n <= 3; n++) {
    clock.advance(MINUTE);
    await expect.poll(jobs, soon).toContain(`${minute(n)} Complete`);
  }
  await expect.poll(jobs, soon).toEqual([`${minute(2)} Complete`, `${minute(3)} Complete`]);
  await local.platform.update([tick("exit 0", { suspend: true })]);
  clock.advance(5 * MINUTE);
  await local.platform.update([tick("exit 1", { suspend: true })]);
  expect(jobs()).toHaveLength(2);
  expect(cron()?.nextSchedule).toBeUndefined();
  // Resumed: of the five that were missed, the last is made up for.
  await local.platform.update([tick("exit 1")]);
  await expect.poll(jobs, soon).toContain(`${minute(8)} Failed`);
  clock.advance(MINUTE);
  await expect
    .poll(jobs, soon)
    .toEqual([`${minute(2)} Complete`, `${minute(3)} Complete`, `${minute(9)} Failed`]);
});

test("concurrencyPolicy Forbid waits for the one that runs, Replace ends it, Allow runs both", async () => {
  const clock = new TestClock(START);
  const script = `until test -e "go-\${HOSTNAME#tick-}"; do sleep 0.02; done`;
  await local.start([tick(script, { concurrencyPolicy: "Forbid" })], { clock });
  clock.advance(MINUTE);
  await expect.poll(() => local.platform.status().pods.map((p) => p.phase), soon).toEqual(["Running"]);
  clock.advance(2 * MINUTE);
  await local.platform.update([tick(script, { concurrencyPolicy: "Forbid" })]);
  expect(cron()?.active).toEqual([minute(1)]);
  local.touch(`go-${START / MINUTE + 1}-0`);
  await expect.poll(() => cron()?.active, soon).toEqual([minute(3)]);
  await local.platform.update([tick(script, { concurrencyPolicy: "Replace" })]);
  clock.advance(MINUTE);
  await expect.poll(() => cron()?.active, soon).toEqual([minute(4)]);
  await local.platform.update([tick(script)]);
  clock.advance(MINUTE);
  await expect.poll(() => cron()?.active, soon).toEqual([minute(4), minute(5)]);
});

test("what was due while the mesh did not run is made up for once, unless startingDeadlineSeconds is over", async () => {
  await local.start([tick("exit 0")], { clock: new TestClock(START) });
  await local.stop();
  await local.start([tick("exit 0")], { clock: new TestClock(START + 10 * MINUTE + 30_000) });
  await expect.poll(jobs, soon).toEqual([`${minute(10)} Complete`]);
  await local.stop();
  const clock = new TestClock(START + 20 * MINUTE + 30_000);
  await local.start([tick("exit 0", { startingDeadlineSeconds: 20 })], { clock });
  expect(jobs()).toEqual([`${minute(10)} Complete`]);
  clock.advance(30_000);
  await expect.poll(jobs, soon).toEqual([`${minute(10)} Complete`, `${minute(21)} Complete`]);
  // With it go its Jobs and their pods.
  await local.platform.update([]);
  await expect.poll(() => local.platform.status().pods, soon).toEqual([]);
  expect(jobs()).toEqual([]);
});
