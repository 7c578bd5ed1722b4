/** Stands for a value of a Secret in everything that is shown. No base64: what is shown cannot be applied by mistake. */
export const HIDDEN = "(not shown)";
/** kubectl keeps the whole object in it, values included. */
const LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration";

/** The manifest as it may be shown: of a Secret the keys alone. */
export function showable(manifest: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  if (manifest["kind"] !== "Secret" || manifest["apiVersion"] !== "v1") return manifest;
  const { stringData, data, metadata, ...rest } = manifest as Record<
    string,
    Record<string, unknown> | undefined
  >;
  const keys = [...Object.keys(data ?? {}), ...Object.keys(stringData ?? {})];
  const { annotations, ...meta } = metadata ?? {};
  const { [LAST_APPLIED]: _, ...kept } = (annotations ?? {}) as Record<string, unknown>;
  return {
    ...rest,
    metadata: { ...meta, ...(Object.keys(kept).length === 0 ? {} : { annotations: kept }) },
    data: Object.fromEntries(keys.map((key) => [key, HIDDEN])),
  };
}
