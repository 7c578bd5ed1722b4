/** What a VirtualService says and nobody will ever see: it is taken, as Istio takes it, and told. */
import type { Path } from "../schema.ts";
import type { Say } from "../world-check.ts";
import type { VirtualService } from "./resolve.ts";

export function validateDeadValues(say: Say, vs: VirtualService): void {
  for (const [i, rule] of (vs.spec.http ?? []).entries()) {
    const at: Path = ["spec", "http", i];
    for (const [j, { uri }] of (rule.match ?? []).entries())
      for (const kind of ["exact", "prefix"] as const) {
        const value = uri?.[kind];
        // The empty prefix is every path's.
        if (value === undefined || value.startsWith("/") || (kind === "prefix" && value === "")) continue;
        say(
          "warning",
          "never-matches",
          vs,
          [...at, "match", j, "uri", kind],
          `"${value}" matches no request: a path begins with "/"`,
        );
      }
    const { timeout = 0, retries } = rule;
    if (timeout > 0 && (retries?.perTryTimeout ?? 0) >= timeout)
      say(
        "warning",
        "never-reached",
        vs,
        [...at, "retries", "perTryTimeout"],
        "is not shorter than timeout, which ends the request first: no try is given up",
      );
    if (retries?.retryRemoteLocalities === true)
      say(
        "warning",
        "not-carried-out",
        vs,
        [...at, "retries", "retryRemoteLocalities"],
        "Weft's sidecars know no localities yet: a retry goes to any other host",
      );
  }
}
