import { Cron } from "croner";
import { Fields } from "../fields.ts";
import type { PlatformObject } from "../object.ts";

/** When a CronJob is due. Times are ms since the epoch. */
export interface Schedule {
  /** The first time after `ms`; undefined: never again. */
  next(ms: number): number | undefined;
}

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

/** spec.schedule and spec.timeZone of a CronJob (the machine's zone without). Throws PlatformError. */
export function readSchedule(object: PlatformObject): Schedule {
  const spec = new Fields(object);
  const text = spec.text("schedule", "");
  const timezone = spec.text("timeZone", undefined);
  const every = /^@every ((?:\d+(?:\.\d+)?(?:ms|s|m|h))+)$/.exec(text)?.[1];
  if (every !== undefined) {
    const parts = [...every.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g)];
    const sum = parts.reduce((ms, [, n, unit = ""]) => ms + Number(n) * (UNITS[unit] ?? 0), 0);
    // As Kubernetes' cron: not more often than every second.
    const period = Math.max(1_000, Math.floor(sum / 1_000) * 1_000);
    return { next: (ms) => ms + period };
  }
  try {
    const cron = new Cron(text, { paused: true, ...(timezone === undefined ? {} : { timezone }) });
    return { next: (ms) => cron.nextRun(new Date(ms))?.getTime() };
  } catch (error) {
    throw spec.wrong("schedule", `is no cron schedule: ${(error as Error).message}`);
  }
}

/** Kubernetes gives up counting here: a clock that jumped, or a mesh that did not run for long. */
const MOST_MISSED = 100;

/** The last time that was due after `since` and not after `now`; of more than a hundred, the nearest to `now`. */
export function lastDue(schedule: Schedule, since: number, now: number): number | undefined {
  let due: number | undefined;
  let from = since;
  for (let missed = 0; ; missed++) {
    const next = schedule.next(from);
    if (next === undefined || next > now) return due;
    due = next;
    from = next;
    if (missed < MOST_MISSED) continue;
    // Half of what is left at a time, so that a year of minutes does not cost a year of steps.
    const half = schedule.next(from + (now - from) / 2);
    if (half !== undefined && half <= now) from = half - 1;
  }
}
