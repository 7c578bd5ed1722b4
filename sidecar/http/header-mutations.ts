// hot path
/** Header changes of weighted cluster, route, virtual host and route table, in that order (Envoy: most specific first). */
import { HeadEdits } from "../http1/write-head.ts";
import type { FormatLookup, HeaderMutation } from "../snapshot.ts";

import type { RequestState } from "./request-state.ts";

/** An answer from here has no fields of an upstream. */
export const NO_FIELDS: HasField = { has: () => false };

interface HasField {
  has(lowerName: string): boolean;
}

/** `head` is asked whether a field is there, for append actions. */
export function mutateRequest(
  edits: HeadEdits,
  state: RequestState,
  head: HasField,
  lookup: FormatLookup,
): void {
  const { picked, route, virtualHost, config } = state;
  if (picked !== null && picked.headers !== null) mutate(edits, picked.headers.request, head, lookup);
  if (route !== null && route.headers !== null) mutate(edits, route.headers.request, head, lookup);
  if (virtualHost !== null && virtualHost.headers !== null)
    mutate(edits, virtualHost.headers.request, head, lookup);
  if (config.routes.headers !== null) mutate(edits, config.routes.headers.request, head, lookup);
}

/** Null where nothing is configured: most responses. */
export function responseEdits(state: RequestState, head: HasField, lookup: FormatLookup): HeadEdits | null {
  const { picked, route, virtualHost, config } = state;
  const least = config.routes.headers;
  if (
    (picked === null || picked.headers === null) &&
    (route === null || route.headers === null) &&
    (virtualHost === null || virtualHost.headers === null) &&
    least === null
  )
    return null;
  const edits = new HeadEdits();
  if (picked !== null && picked.headers !== null) mutate(edits, picked.headers.response, head, lookup);
  if (route !== null && route.headers !== null) mutate(edits, route.headers.response, head, lookup);
  if (virtualHost !== null && virtualHost.headers !== null)
    mutate(edits, virtualHost.headers.response, head, lookup);
  if (least !== null) mutate(edits, least.response, head, lookup);
  return edits;
}

function mutate(
  edits: HeadEdits,
  mutations: readonly HeaderMutation[],
  head: HasField,
  lookup: FormatLookup,
): void {
  for (const mutation of mutations) {
    const { name } = mutation;
    if (mutation.kind === "remove") {
      edits.remove(name);
      continue;
    }
    const present = (head.has(name) && !edits.removed.includes(name)) || edits.adds(name);
    if (mutation.kind === (present ? "add-if-absent" : "overwrite-if-exists")) continue;
    const value = mutation.value(lookup);
    if (value === "" && !mutation.keepEmpty) continue;
    if (mutation.kind === "append") edits.add(name, value);
    else edits.set(name, value);
  }
}
