/**
 * What the supervisor answers on `<state directory>/platform.sock` (HTTP, JSON; docs/contracts.md has the table of
 * paths). Imports nothing: windows and tests share it. Words are Kubernetes' own where it has them.
 */

export type WorkloadKind =
  | "Deployment"
  | "ReplicaSet"
  | "StatefulSet"
  | "DaemonSet"
  | "Pod"
  | "Job"
  | "CronJob"
  | "HorizontalPodAutoscaler";

/** `GET /status`; the same as `Platform.status()`. */
export interface PlatformStatus {
  readonly mode: "explicit" | "transparent";
  /** Why this mode, for people. */
  readonly reason: string;
  /** Every workload has what it wants. */
  readonly ready: boolean;
  readonly pid: number;
  readonly stateDir: string;
  /** "unix:PATH" of the control plane's admin socket. */
  readonly admin: string;
  /** On 127.0.0.1; `port` differs from the Service's own where that may not be opened (80 becomes 8080). */
  readonly hostPorts: readonly {
    readonly port: number;
    readonly service: string;
    readonly servicePort: number;
  }[];
  readonly pods: readonly PodStatus[];
  readonly workloads: readonly WorkloadStatus[];
}

/** https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-phase */
export type PodPhase = "Pending" | "Running" | "Succeeded" | "Failed";

export interface PodStatus {
  readonly name: string;
  readonly namespace: string;
  /** Name of what made it; a bare pod's own. */
  readonly workload: string;
  readonly kind: WorkloadKind;
  /** Empty when it has none: a pod that has ended gives its address back. */
  readonly podIp: string;
  readonly phase: PodPhase;
  /** In a word, as `kubectl get pods` has it under STATUS: Running, Completed, Terminating, CrashLoopBackOff, Init:0/1 ... */
  readonly reason: string;
  /** In words, why it is not ready, or why it ended; "" = it is ready. */
  readonly message: string;
  /** In words: what runs, but not as it should (it listens on the wrong address, limits that cannot be set). */
  readonly notes: readonly string[];
  /** "local": the one node. */
  readonly node: string;
  readonly ready: boolean;
  /** Revision of the workload that it runs; 0 where there are none. */
  readonly revision: number;
  /** ISO time. */
  readonly started: string;
  /** "unix:PATH" of its proxy's admin socket. */
  readonly admin: string;
  readonly containers: readonly {
    readonly name: string;
    readonly role: "proxy" | "init" | "sidecar" | "main";
    readonly image: string;
    /** "running", "waiting" (it is started again), "ended" (it is not), "stopped". */
    readonly state: string;
    readonly ready: boolean;
    /** Stands before a command that is to run beside it: its namespaces and folder. Empty: they are this machine's. */
    readonly enter: readonly string[];
    readonly pid?: number;
    /** Of its last end; as a shell has it: 128 + N after signal N. */
    readonly exitCode?: number;
    readonly restarts: number;
    /** For people: "exit code 1", "signal SIGKILL", "liveness probe: ...". */
    readonly lastExit?: string;
  }[];
}

/** As metav1.Condition. */
export interface Condition {
  /** Available, Progressing, Complete, Failed, Suspended, AbleToScale, ScalingActive, ScalingLimited. */
  readonly type: string;
  readonly status: "True" | "False" | "Unknown";
  /** Kubernetes' own word: NewReplicaSetAvailable, ProgressDeadlineExceeded, BackoffLimitExceeded ... */
  readonly reason: string;
  readonly message: string;
  /** ISO time of the last change of `status`. */
  readonly since: string;
}

/** Where a workload stands. Counts are of pods; what a kind does not have is 0 or absent. */
export interface WorkloadStatus {
  readonly kind: WorkloadKind;
  readonly namespace: string;
  readonly name: string;
  readonly source?: { readonly file: string; readonly line: number };
  /** It has what it wants: `up` waits for this. A Job is ready when it has begun, a CronJob always. */
  readonly ready: boolean;
  /** How many are wanted; completions of a Job. */
  readonly desired: number;
  /** How many there are, old and new. */
  readonly current: number;
  /** Of `current`, those of the newest revision. */
  readonly updated: number;
  readonly readyPods: number;
  /** Ready for minReadySeconds. */
  readonly available: number;
  /** 0 where the kind has no history. */
  readonly revision: number;
  readonly paused: boolean;
  readonly conditions: readonly Condition[];
  /** One sentence of what needs somebody to look: a rollout past its deadline, a Job that failed. Empty: nothing. */
  readonly trouble: string;
  /** What `weft rollout status` says; absent where the kind has no rollout. */
  readonly rollout?: {
    readonly state: "complete" | "progressing" | "paused" | "failed";
    /** As kubectl: `Waiting for deployment "web" rollout to finish: 1 old replicas are pending termination...`. */
    readonly message: string;
  };
  /** Jobs alone; counts of pods, and when it began and finished (ISO). */
  readonly job?: {
    readonly active: number;
    readonly succeeded: number;
    readonly failed: number;
    readonly started?: string;
    readonly finished?: string;
  };
  /** CronJobs alone; ISO times, and the names of the Jobs that run now. */
  readonly cron?: {
    readonly schedule: string;
    readonly suspended: boolean;
    readonly active: readonly string[];
    readonly lastSchedule?: string;
    readonly nextSchedule?: string;
  };
  /** HorizontalPodAutoscalers alone: "Kind/name", and each metric as "cpu: 45%/80%". */
  readonly autoscaler?: {
    readonly target: string;
    readonly minReplicas: number;
    readonly maxReplicas: number;
    readonly metrics: readonly string[];
  };
  /** What was changed past the files (`weft scale`, `undo`, `restart`, `pause`), one sentence each, and until when it holds. */
  readonly changed: readonly string[];
}

/** `GET /workloads/KIND/NAMESPACE/NAME/history`: oldest first. */
export interface RolloutHistory {
  readonly revisions: readonly {
    readonly revision: number;
    /** Value of the label pod-template-hash (controller-revision-hash). */
    readonly hash: string;
    /** ISO time. */
    readonly created: string;
    /** Annotation kubernetes.io/change-cause; empty without. */
    readonly changeCause: string;
    readonly current: boolean;
    /** The pod template as it was written: metadata and spec. */
    readonly template: Readonly<Record<string, unknown>>;
  }[];
}

/** `POST /workloads/KIND/NAMESPACE/NAME/undo`; without a revision the one before. */
export interface UndoRequest {
  readonly toRevision?: number;
}
/** `POST /workloads/KIND/NAMESPACE/NAME/scale` */
export interface ScaleRequest {
  readonly replicas: number;
}

/** Of every operation that was done. */
export interface Done {
  /** `deployment.apps/web restarted`, as kubectl says it. */
  readonly message: string;
  /** What a person should know besides: until when it holds against the file. Empty: nothing. */
  readonly note: string;
}

/** 404: no such workload or revision; 409: not now (paused, owned by an autoscaler); 422: not with this kind or value. */
export interface Refused {
  readonly error: string;
}
