import type { SourceInfo } from "#control-plane/admin/contract.ts";
import type { Metadata } from "#sidecar/snapshot.ts";
import type { Place } from "./contract.ts";

const KINDS: Readonly<Record<string, string>> = { "http-route": "HTTPRoute", "grpc-route": "GRPCRoute" };

export function placeOf({ kind, namespace, name, file, line }: SourceInfo): Place {
  return { object: namespace === "" ? `${kind} ${name}` : `${kind} ${namespace}/${name}`, file, line };
}

/** filter_metadata istio.config (`/apis/GROUP/VERSION/namespaces/NS/KIND/NAME`) and weft.source (`FILE:LINE`). */
export function placeIn(config: string | null, source: string | null): Place | null {
  if (config === null && source === null) return null;
  const [namespace = "", kebab = "", name = ""] = config?.split("/").slice(-3) ?? [];
  const kind =
    KINDS[kebab] ?? kebab.replace(/(^|-)(\w)/g, (_all, _dash, letter: string) => letter.toUpperCase());
  const [, file = "", line = "0"] = /^(.*):(\d+)$/.exec(source ?? "") ?? [];
  return { object: `${kind} ${namespace}/${name}`, file, line: Number(line) };
}

/** FILE:LINE of the policy that a route or filter was made of; null: of none. */
export function sourceIn(metadata: Metadata): string | null {
  const source = metadata["weft"]?.["source"];
  return typeof source === "string" ? source : null;
}
