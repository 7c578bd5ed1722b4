import type { Path, Report, Schema } from "../schema.ts";
import { also } from "./fields.ts";

interface Owner {
  readonly selector?: { readonly matchLabels?: Readonly<Record<string, string>> | undefined } | undefined;
  readonly template: {
    readonly metadata?: { readonly labels?: Readonly<Record<string, string>> | undefined } | undefined;
    readonly spec: {
      readonly restartPolicy?: string | undefined;
      readonly activeDeadlineSeconds?: number | undefined;
    };
  };
}

/** What Kubernetes refuses of a controller: pods that its selector does not take, a restart policy that is not its own. */
export function selectsItsPods<T extends Owner>(schema: Schema<T>, restart: readonly string[]): Schema<T> {
  return also(schema, (spec, path, report) => {
    const labels = spec.template?.metadata?.labels ?? {};
    for (const [key, value] of Object.entries(spec.selector?.matchLabels ?? {}))
      if (labels[key] !== value)
        report(
          [...path, "selector", "matchLabels", key],
          "selects-nothing",
          `its own pods do not have the label ${key}: ${value}; write it into template.metadata.labels`,
        );
    restartPolicyOf(spec, restart, path, report);
    if (spec.template?.spec?.activeDeadlineSeconds !== undefined)
      report(
        [...path, "template", "spec", "activeDeadlineSeconds"],
        "invalid-value",
        "is for pods that end: those of this kind are kept running",
      );
  });
}

/** Reports a restartPolicy of the pod template that the kind does not allow; absent = Always. */
export function restartPolicyOf(spec: Owner, allowed: readonly string[], path: Path, report: Report): void {
  const policy = spec.template?.spec?.restartPolicy ?? "Always";
  if (!allowed.includes(policy))
    report(
      [...path, "template", "spec", "restartPolicy"],
      "invalid-value",
      `must be ${allowed.join(" or ")} here, not ${policy}`,
    );
}
