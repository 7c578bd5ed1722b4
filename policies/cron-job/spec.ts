import { jobSpec } from "../job/spec.ts";
import { seconds } from "../pod/fields.ts";
import { objectMeta } from "../pod/metadata.ts";
import { bool, check, int, object, oneOf, required, str } from "../schema.ts";

const MACROS = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];
const MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
/** Name, lowest, highest, names of values from the lowest. */
const FIELDS = [
  ["minute", 0, 59, []],
  ["hour", 0, 23, []],
  ["day of month", 1, 31, []],
  ["month", 1, 12, MONTHS],
  ["day of week", 0, 6, DAYS],
] as const;

/** cron(5) with five fields, "@hourly" and the like, "@every 90s" (kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/). */
function wrongSchedule(text: string): string | null {
  if (/^(CRON_)?TZ=/.test(text)) return "names a time zone: write it into timeZone";
  if (MACROS.includes(text)) return null;
  if (text.startsWith("@every "))
    return /^@every (\d+(\.\d+)?(ms|s|m|h))+$/.test(text) ? null : 'must be as "@every 1h30m"';
  const fields = text.trim().split(/\s+/);
  if (fields.length !== 5)
    return `must have five fields, "minute hour day-of-month month day-of-week", or be one of ${MACROS.join(", ")}; it has ${fields.length}`;
  for (const [i, [name, low, high, names]] of FIELDS.entries())
    for (const part of fields[i]!.split(",")) {
      const match = /^(\*|\?|([a-z0-9]+)(?:-([a-z0-9]+))?)(?:\/(\d+))?$/i.exec(part);
      const value = (word: string | undefined): number =>
        word === undefined
          ? low
          : /^\d+$/.test(word)
            ? Number(word)
            : low + (names as readonly string[]).indexOf(word.toLowerCase());
      const from = value(match?.[2]);
      const to = match?.[3] === undefined ? from : value(match[3]);
      const unknown = [match?.[2], match?.[3]].some(
        (word) =>
          word !== undefined &&
          !/^\d+$/.test(word) &&
          !(names as readonly string[]).includes(word.toLowerCase()),
      );
      if (match === null || unknown || from < low || to > high || from > to || match[4] === "0")
        return `${name} "${part}" is no value, range or step from ${low} to ${high}`;
    }
  return null;
}

const timeZone = check(str, (name) => {
  try {
    new Intl.DateTimeFormat("en", { timeZone: name });
    return null;
  } catch {
    return `${JSON.stringify(name)} is no time zone of the IANA database, such as "Europe/Berlin"`;
  }
});

export const cronJobSpec = object({
  schedule: required(check(str, wrongSchedule)),
  timeZone,
  concurrencyPolicy: oneOf("Allow", "Forbid", "Replace"),
  startingDeadlineSeconds: seconds(),
  suspend: bool,
  jobTemplate: required(object({ metadata: objectMeta, spec: required(jobSpec) })),
  successfulJobsHistoryLimit: int(),
  failedJobsHistoryLimit: int(),
});
