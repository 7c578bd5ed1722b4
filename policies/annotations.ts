import type { Report } from "./schema.ts";

const DRY_RUN = "istio.io/dry-run";
/** What Go's strconv.ParseBool takes; Istio reads the annotation with it. */
const TRUE = new Set(["1", "t", "T", "TRUE", "true", "True"]);
const FALSE = new Set(["0", "f", "F", "FALSE", "false", "False"]);

type Annotations = Readonly<Record<string, string>>;

/** Only counts what it would do; enforces nothing. */
export function isDryRun(annotations: Annotations): boolean {
  return TRUE.has(annotations[DRY_RUN] ?? "");
}

/** An annotation that were misread would enforce what was meant as a trial, or the other way round. */
export function checkDryRun(kind: string, action: string, annotations: Annotations, report: Report): void {
  const value = annotations[DRY_RUN];
  if (value === undefined) return;
  const path = ["metadata", "annotations", DRY_RUN];
  if (kind !== "AuthorizationPolicy")
    report(path, "invalid-value", `${kind} has no dry run: only AuthorizationPolicy has`);
  else if (action !== "ALLOW" && action !== "DENY")
    report(path, "invalid-value", `action ${action} has no dry run: only ALLOW and DENY have`);
  else if (!TRUE.has(value) && !FALSE.has(value))
    report(path, "invalid-value", `must be "true" or "false", not ${JSON.stringify(value)}`);
}
