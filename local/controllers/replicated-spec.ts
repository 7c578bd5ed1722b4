/** What the kinds ask for that are a number of like pods: Deployment, ReplicaSet, DaemonSet, bare Pod. */
import { Fields } from "../fields.ts";
import type { PlatformObject } from "../object.ts";
import type { IntOrPercent } from "./rolling.ts";

export interface ReplicatedSpec {
  readonly replicas: number;
  /** OnDelete: a new template is for pods that are made anew for another reason. */
  readonly strategy:
    | {
        readonly type: "RollingUpdate";
        readonly maxSurge: IntOrPercent;
        readonly maxUnavailable: IntOrPercent;
      }
    | { readonly type: "Recreate" }
    | { readonly type: "OnDelete" };
  readonly minReadySeconds: number;
  /** Undefined: there is none. */
  readonly progressDeadlineSeconds: number | undefined;
  readonly revisionHistoryLimit: number;
  readonly paused: boolean;
  /** The label that tells pods of one revision. */
  readonly hashLabel: "pod-template-hash" | "controller-revision-hash" | undefined;
}

/** Defaults as Kubernetes'. Throws PlatformError. */
export function replicatedSpec(object: PlatformObject): ReplicatedSpec {
  switch (object.kind) {
    case "Deployment":
      return deployment(new Fields(object));
    case "ReplicaSet":
      return {
        ...ALONE,
        replicas: new Fields(object).whole("replicas", 1),
        strategy: { type: "OnDelete" },
        minReadySeconds: new Fields(object).whole("minReadySeconds", 0),
        hashLabel: "pod-template-hash",
      };
    case "DaemonSet":
      return daemonSet(new Fields(object));
    default:
      return ALONE;
  }
}

const ALONE: ReplicatedSpec = {
  replicas: 1,
  strategy: { type: "Recreate" },
  minReadySeconds: 0,
  progressDeadlineSeconds: undefined,
  revisionHistoryLimit: 0,
  paused: false,
  hashLabel: undefined,
};

function deployment(spec: Fields): ReplicatedSpec {
  const strategy = spec.at("strategy");
  const type = strategy.oneOf("type", ["RollingUpdate", "Recreate"], "RollingUpdate");
  const rolling = strategy.at("rollingUpdate");
  const minReadySeconds = spec.whole("minReadySeconds", 0);
  const progressDeadlineSeconds = spec.whole("progressDeadlineSeconds", 600, 1);
  if (progressDeadlineSeconds <= minReadySeconds)
    throw spec.wrong("progressDeadlineSeconds", `must be greater than minReadySeconds (${minReadySeconds})`);
  if (type === "Recreate" && strategy.has("rollingUpdate"))
    throw strategy.wrong("rollingUpdate", 'is not for type "Recreate"');
  const maxSurge = rolling.intOrPercent("maxSurge", "25%");
  const maxUnavailable = rolling.intOrPercent("maxUnavailable", "25%");
  if (Number.parseInt(String(maxSurge), 10) === 0 && Number.parseInt(String(maxUnavailable), 10) === 0)
    throw rolling.wrong("maxUnavailable", "may not be 0 when maxSurge is 0: no pod could ever be replaced");
  return {
    replicas: spec.whole("replicas", 1),
    strategy: type === "Recreate" ? { type } : { type, maxSurge, maxUnavailable },
    minReadySeconds,
    progressDeadlineSeconds,
    revisionHistoryLimit: spec.whole("revisionHistoryLimit", 10),
    paused: spec.flag("paused"),
    hashLabel: "pod-template-hash",
  };
}

/** This machine is the one node. */
function daemonSet(spec: Fields): ReplicatedSpec {
  const strategy = spec.at("updateStrategy");
  const type = strategy.oneOf("type", ["RollingUpdate", "OnDelete"], "RollingUpdate");
  const rolling = strategy.at("rollingUpdate");
  const maxSurge = rolling.intOrPercent("maxSurge", 0);
  const maxUnavailable = rolling.intOrPercent("maxUnavailable", rolling.has("maxSurge") ? 0 : 1);
  return {
    ...ALONE,
    strategy: type === "OnDelete" ? { type } : { type, maxSurge, maxUnavailable },
    minReadySeconds: spec.whole("minReadySeconds", 0),
    revisionHistoryLimit: spec.whole("revisionHistoryLimit", 10),
    hashLabel: "controller-revision-hash",
  };
}
