import type { WorkloadStatus } from "../contract.ts";
import { type PlatformObject, record } from "../object.ts";
import type { OwnedPod, OwnerKey } from "../pods.ts";
import { decide, type Past, type Reading } from "./autoscaler-decision.ts";
import { type AutoscalerSpec, autoscalerSpec, type Metric } from "./autoscaler-spec.ts";
import { Conditions, type Controller, type ControllerContext, keyOf } from "./controller.ts";
import type { Scalable } from "./scaling.ts";

/** A workload that can be scaled. */
export type ScaleTarget = Controller & Scalable;

/** What is measured of a pod: what it used until now. */
export interface Meter {
  /** CPU seconds and resident bytes of its containers by name, without the proxy. */
  resources(
    pods: readonly OwnedPod[],
  ): Map<OwnedPod, ReadonlyMap<string, { cpuSeconds: number; memory: number }>>;
  /** Requests that its proxy has let in since it began; undefined: it does not say. */
  requests(pod: OwnedPod): Promise<number | undefined>;
  /** Ready pods that the Service namespace/name selects. */
  podsOf(service: string): readonly OwnedPod[];
}

export interface AutoscalerContext extends ControllerContext {
  readonly meter: Meter;
  /** Undefined: there is no such workload; a key: of the autoscaler that has it already. */
  readonly target: (key: OwnerKey, asker: OwnerKey) => ScaleTarget | OwnerKey | undefined;
  /** Ms between two measurements; Kubernetes' 15 s are long on a laptop. */
  readonly periodMs: number;
}

interface Sample {
  readonly at: number;
  readonly cpuSeconds: ReadonlyMap<string, number>;
  readonly requests: number | undefined;
}

/** Longer than any window that decides. */
const LONGEST_WINDOW_MS = 3_600_000;

/** Scales a workload by what its pods use; from then on the number is its own, whatever the file says. */
export class Autoscaler implements Controller {
  readonly key: OwnerKey;
  readonly operations = {};
  readonly #context: AutoscalerContext;
  readonly #conditions: Conditions;
  #object: PlatformObject;
  #spec: AutoscalerSpec;
  #samples = new Map<OwnedPod, Sample>();
  #past: Past = { wishes: [], steps: [] };
  #measuredAt = Number.NEGATIVE_INFINITY;
  #replicas: number | undefined;
  #scaled: ScaleTarget | undefined;
  #shown: readonly string[] = [];
  #measuring = false;
  #unmeasured = true;

  constructor(context: AutoscalerContext, object: PlatformObject) {
    this.key = keyOf(object);
    this.#context = context;
    this.#object = object;
    this.#spec = autoscalerSpec(object);
    this.#conditions = new Conditions(context.clock);
    const saved = record(context.store.read(this.key))["replicas"];
    if (typeof saved === "number") this.#replicas = saved;
  }

  update(object: PlatformObject): void {
    this.#object = object;
    this.#spec = autoscalerSpec(object);
  }

  remove(): void {
    this.#scaled?.autoscale(undefined);
    this.#scaled = undefined;
    this.#context.store.forget(this.key);
  }

  get targetKey(): OwnerKey {
    const { kind, name } = this.#spec.target;
    return `${kind}/${this.#namespace}/${name}` as OwnerKey;
  }
  get #namespace(): string {
    return this.#object.metadata.namespace ?? "default";
  }

  async reconcile(): Promise<void> {
    const { clock, target, periodMs, wakeAfter } = this.#context;
    const answer = target(this.targetKey, this.key);
    const found = typeof answer === "string" ? undefined : answer;
    if (this.#scaled !== undefined && this.#scaled !== found) this.#scaled.autoscale(undefined);
    this.#scaled = found;
    if (found === undefined) {
      const why =
        answer === undefined
          ? `there is no ${this.targetKey}`
          : `${this.targetKey} is scaled by ${String(answer)}`;
      this.#conditions.set("AbleToScale", "False", "FailedGetScale", why);
      return;
    }
    const { minReplicas, maxReplicas } = this.#spec;
    // At its first sight the workload keeps what it has.
    this.#replicas ??= found.replicas;
    // As on Kubernetes: what somebody scaled to nothing stays so.
    if (found.fileReplicas === 0) {
      found.autoscale(undefined);
      this.#conditions.set("ScalingActive", "False", "ScalingDisabled", "the target has 0 replicas");
      return;
    }
    this.#scale(found, Math.max(minReplicas, Math.min(maxReplicas, this.#replicas)));
    const wait = this.#measuredAt + periodMs - clock.monotonic();
    if (wait > 0) return wakeAfter(wait);
    this.#measuredAt = clock.monotonic();
    wakeAfter(periodMs);
    // Beside the loop: a proxy that does not answer must not hold the other workloads.
    if (!this.#measuring) void this.#round(found);
  }

  async #round(found: ScaleTarget): Promise<void> {
    this.#measuring = true;
    try {
      const readings = await this.#measure(found);
      if (readings.length > 0 && this.#scaled === found) this.#decide(found, readings);
    } catch (error) {
      this.#context.log.error("an autoscaler could not measure", { workload: this.key, error });
    } finally {
      this.#measuring = false;
    }
  }

  #decide(found: ScaleTarget, readings: readonly Reading[]): void {
    const { clock } = this.#context;
    const now = clock.monotonic();
    if (this.#past.wishes.length === 0)
      this.#past = { ...this.#past, wishes: [{ at: now, replicas: found.replicas }] };
    const { replicas, wish, limit } = decide(this.#spec, found.replicas, readings, this.#past, now);
    const recent = <T extends { readonly at: number }>(list: readonly T[]) =>
      list.filter(({ at }) => at > now - LONGEST_WINDOW_MS);
    this.#past = {
      wishes: recent([...this.#past.wishes, { at: now, replicas: wish }]),
      steps: recent(this.#past.steps),
    };
    this.#conditions.set(
      "ScalingLimited",
      limit === "DesiredWithinRange" ? "False" : "True",
      limit,
      `the metrics want ${Math.max(wish, this.#spec.minReplicas)} pods`,
    );
    this.#scale(found, replicas);
  }

  #scale(target: ScaleTarget, replicas: number): void {
    const { store, clock } = this.#context;
    const change = replicas - (this.#replicas ?? replicas);
    if (change !== 0) {
      this.#past = { ...this.#past, steps: [...this.#past.steps, { at: clock.monotonic(), change }] };
      this.#context.log.info("scaled", { workload: target.key, replicas, by: this.key });
    }
    store.write(this.key, { replicas });
    this.#replicas = replicas;
    target.autoscale({
      by: `HorizontalPodAutoscaler ${this.#namespace}/${this.#object.metadata.name}`,
      replicas,
    });
    this.#conditions.set("AbleToScale", "True", "ReadyForNewScale", `${target.key} has ${replicas} replicas`);
  }

  async #measure(target: ScaleTarget): Promise<Reading[]> {
    const pods = this.#context.pods.of(target.key).filter((p) => !p.pod.stopping);
    const others = this.#spec.metrics.flatMap(({ service }) =>
      service === undefined ? [] : this.#context.meter.podsOf(`${this.#namespace}/${service}`),
    );
    const rates = await this.#rates([...new Set([...pods, ...others])]);
    const readings: Reading[] = [];
    const shown: string[] = [];
    const troubles: string[] = [];
    for (const metric of this.#spec.metrics) {
      const from =
        metric.service === undefined
          ? pods
          : this.#context.meter.podsOf(`${this.#namespace}/${metric.service}`);
      const used = from.flatMap((pod) => {
        const rate = pod.readySince === undefined ? undefined : rateOf(metric, pod, rates);
        return rate === undefined ? [] : [rate];
      });
      const requested = requestOf(metric, pods[0]);
      if (metric.target.kind === "utilization" && requested === undefined) {
        troubles.push(`no container of the target has resources.requests.${metric.source}`);
        continue;
      }
      const ready = pods.filter((p) => p.readySince !== undefined).length;
      const reading = { metric, used, requested: requested ?? 0, unknown: from.length - used.length, ready };
      shown.push(show(reading));
      if (used.length > 0) readings.push(reading);
    }
    this.#shown = shown;
    this.#unmeasured = troubles.length === 0;
    if (readings.length > 0 && troubles.length === 0)
      this.#conditions.set("ScalingActive", "True", "ValidMetricFound", shown.join(", "));
    else
      this.#conditions.set(
        "ScalingActive",
        "False",
        "FailedGetResourceMetric",
        troubles.join("; ") || "no pod has been measured yet",
      );
    return readings;
  }

  /** What each pod used since it was measured the last time. */
  async #rates(pods: readonly OwnedPod[]): Promise<Map<OwnedPod, Rates>> {
    const { meter, clock } = this.#context;
    const now = clock.monotonic();
    const resources = meter.resources(pods);
    const wantsRequests = this.#spec.metrics.some(({ source }) => source === "requests");
    const samples = new Map<OwnedPod, Sample>();
    const rates = new Map<OwnedPod, Rates>();
    for (const pod of pods) {
      const containers = resources.get(pod) ?? new Map();
      const cpuSeconds = new Map([...containers].map(([name, use]) => [name, use.cpuSeconds]));
      const sample = { at: now, cpuSeconds, requests: wantsRequests ? await meter.requests(pod) : undefined };
      const before = this.#samples.get(pod);
      samples.set(pod, sample);
      if (before === undefined || before.at >= now) continue;
      const perSecond = (a: number | undefined, b: number | undefined): number | undefined =>
        a === undefined || b === undefined ? undefined : Math.max(0, b - a) / ((now - before.at) / 1000);
      rates.set(pod, {
        cpu: new Map(
          [...cpuSeconds].map(([name, value]) => [name, perSecond(before.cpuSeconds.get(name), value)]),
        ),
        memory: new Map([...containers].map(([name, use]) => [name, use.memory])),
        requests: perSecond(before.requests, sample.requests),
      });
    }
    this.#samples = samples;
    return rates;
  }

  #trouble(): string {
    const failed = ["AbleToScale", "ScalingActive"]
      .map((type) => this.#conditions.get(type))
      .find((c) => c?.status === "False" && c.reason.startsWith("Failed"));
    // Nothing is wrong with what has only just begun.
    if (failed === undefined || (failed.reason === "FailedGetResourceMetric" && this.#unmeasured)) return "";
    return `HorizontalPodAutoscaler ${this.#object.metadata.name} does not scale: ${failed.message}`;
  }

  status(): WorkloadStatus {
    const { metadata, source } = this.#object;
    const { minReplicas, maxReplicas } = this.#spec;
    const current = this.#scaled?.replicas ?? 0;
    return {
      kind: "HorizontalPodAutoscaler",
      namespace: this.#namespace,
      name: metadata.name,
      ...(source === undefined ? {} : { source }),
      ready: true,
      desired: current,
      current,
      updated: current,
      readyPods: 0,
      available: 0,
      revision: 0,
      paused: false,
      conditions: this.#conditions.list,
      trouble: this.#trouble(),
      autoscaler: {
        target: `${this.#spec.target.kind}/${this.#spec.target.name}`,
        minReplicas,
        maxReplicas,
        metrics: this.#shown,
      },
      changed: [],
    };
  }
}

interface Rates {
  /** Cores by container. */
  readonly cpu: ReadonlyMap<string, number | undefined>;
  /** Bytes by container. */
  readonly memory: ReadonlyMap<string, number>;
  /** Per second. */
  readonly requests: number | undefined;
}

function rateOf(metric: Metric, pod: OwnedPod, rates: ReadonlyMap<OwnedPod, Rates>): number | undefined {
  const found = rates.get(pod);
  if (found === undefined || metric.source === "requests") return found?.requests;
  const byContainer = found[metric.source];
  if (metric.container !== undefined) return byContainer.get(metric.container);
  let sum = 0;
  for (const value of byContainer.values()) {
    if (value === undefined) return undefined;
    sum += value;
  }
  return byContainer.size === 0 ? undefined : sum;
}

/** Of one pod; undefined where no container says. */
function requestOf({ source, container }: Metric, pod: OwnedPod | undefined): number | undefined {
  if (source === "requests" || pod === undefined) return undefined;
  const requests = pod.template.containers
    .filter(({ name }) => container === undefined || name === container)
    .map(({ requests }) => requests[source])
    .filter((value) => value !== undefined);
  return requests.length === 0 ? undefined : requests.reduce((a, b) => a + b, 0);
}

/** As `kubectl get hpa`: "cpu: 45%/80%". */
function show({ metric, used, requested }: Reading): string {
  const { target, source, service } = metric;
  const what = service === undefined ? source : `${source} of ${service}`;
  const sum = used.reduce((a, b) => a + b, 0);
  const average = sum / used.length;
  const round = (n: number): string => String(Math.round(n * 100) / 100);
  if (target.kind === "utilization") {
    const now = used.length === 0 ? "<unknown>" : `${Math.round((average / requested) * 100)}%`;
    return `${what}: ${now}/${target.percent}%`;
  }
  const now = used.length === 0 ? "<unknown>" : round(target.kind === "total" ? sum : average);
  return `${what}: ${now}/${round(target.value)}${target.kind === "average" ? " (avg)" : ""}`;
}
