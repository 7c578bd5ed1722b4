/** Which controller runs which kind, and what it reads of a manifest. */
import { Autoscaler, type AutoscalerContext } from "./controllers/autoscaler.ts";
import { autoscalerSpec } from "./controllers/autoscaler-spec.ts";
import type { Controller } from "./controllers/controller.ts";
import { CronJob, checkCronJob } from "./controllers/cron-job.ts";
import { Job } from "./controllers/job.ts";
import { jobSpec } from "./controllers/job-spec.ts";
import { Replicated } from "./controllers/replicated.ts";
import { replicatedSpec } from "./controllers/replicated-spec.ts";
import { templateOf } from "./controllers/revisions.ts";
import { StatefulSet, statefulSetSpec } from "./controllers/stateful-set.ts";
import type { PlatformObject } from "./object.ts";

interface Kind {
  /** Reads everything that the controller will read. Throws PlatformError. */
  readonly check: (object: PlatformObject) => unknown;
  readonly make: (context: AutoscalerContext, object: PlatformObject) => Controller;
}

const REPLICATED: Kind = {
  check: (object) => [replicatedSpec(object), templateOf(object)],
  make: (context, object) => new Replicated(context, object),
};

export const WORKLOAD_KINDS: Readonly<Record<string, Kind>> = {
  Deployment: REPLICATED,
  ReplicaSet: REPLICATED,
  DaemonSet: REPLICATED,
  Pod: REPLICATED,
  StatefulSet: {
    check: (object) => [statefulSetSpec(object), templateOf(object)],
    make: (context, object) => new StatefulSet(context, object),
  },
  Job: {
    check: (object) => [jobSpec(object), templateOf(object)],
    make: (context, object) => new Job(context, object),
  },
  CronJob: {
    check: checkCronJob,
    make: (context, object) => new CronJob(context, object),
  },
  HorizontalPodAutoscaler: {
    check: autoscalerSpec,
    make: (context, object) => new Autoscaler(context, object),
  },
};
