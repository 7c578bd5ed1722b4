/** A manifest that says the same wherever it is applied: what is relative to its file is written out. */
import { dirname, resolve } from "node:path";
import type { Listed } from "./listing.ts";

type Json = Readonly<Record<string, unknown>>;

/** Where the pod template stands in each kind that has one. */
const POD_SPEC: Readonly<Record<string, readonly string[]>> = {
  Pod: ["spec"],
  Deployment: ["spec", "template", "spec"],
  StatefulSet: ["spec", "template", "spec"],
  DaemonSet: ["spec", "template", "spec"],
  Job: ["spec", "template", "spec"],
  CronJob: ["spec", "jobTemplate", "spec", "template", "spec"],
};

/** Commands run in the folder of their file: without it `workingDir` must be absolute. */
export function manifestOf({ kind, namespace, manifest, source, workload, pod }: Listed): Json {
  const status = workload ?? pod;
  const written = {
    ...manifest,
    metadata: { ...manifest.metadata, ...(namespace === "" ? {} : { namespace }) },
    ...(source === null && status !== null ? { status } : {}),
  } as Json;
  const path = POD_SPEC[kind];
  if (path === undefined || source === null || isGenerated(manifest)) return written;
  const folder = dirname(resolve(source.file));
  return changed(written, path, (spec) => ({
    ...spec,
    ...containers(spec, "containers", folder),
    ...containers(spec, "initContainers", folder),
  }));
}

const isGenerated = ({ metadata }: Listed["manifest"]): boolean =>
  (metadata?.ownerReferences ?? []).length > 0;

function containers(spec: Json, key: string, folder: string): Json {
  const list = spec[key];
  if (!Array.isArray(list)) return {};
  return {
    [key]: list.map((one: Json) =>
      one["command"] === undefined
        ? one
        : { ...one, workingDir: resolve(folder, String(one["workingDir"] ?? ".")) },
    ),
  };
}

function changed(value: Json, path: readonly string[], change: (value: Json) => Json): Json {
  const [head, ...rest] = path;
  if (head === undefined) return change(value);
  const inner = value[head];
  if (typeof inner !== "object" || inner === null) return value;
  return { ...value, [head]: changed(inner as Json, rest, change) };
}
