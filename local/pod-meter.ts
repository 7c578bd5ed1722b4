import { getText } from "./admin-socket.ts";
import type { Meter } from "./controllers/autoscaler.ts";
import type { OwnedPod } from "./pods.ts";
import { usageOf } from "./usage.ts";

/** What pods use: their processes by /proc, requests by the statistics of their proxies. */
export function podMeter(podsOf: (service: string) => readonly OwnedPod[]): Meter {
  return {
    podsOf,
    resources(pods) {
      const running = pods.flatMap((pod) =>
        pod.pod.containers.flatMap(({ spec, process }) =>
          process.pid === undefined ? [] : [{ pod, name: spec.name, pid: process.pid }],
        ),
      );
      const usage = usageOf(running.map(({ pid }) => pid));
      const byPod = new Map(
        pods.map((pod) => [pod, new Map<string, { cpuSeconds: number; memory: number }>()]),
      );
      for (const { pod, name, pid } of running) {
        const use = usage.get(pid);
        if (use !== undefined) byPod.get(pod)?.set(name, use);
      }
      return byPod;
    },
    async requests({ pod }) {
      const filter = pod.template.gateway ? GATEWAY_REQUESTS : SIDECAR_REQUESTS;
      const path = `/stats?filter=${encodeURIComponent(filter)}`;
      const text = await getText(pod.adminAddress.slice("unix:".length), path);
      if (text === null) return undefined;
      return [...text.matchAll(/: (\d+)$/gm)].reduce((sum, [, n]) => sum + Number(n), 0);
    },
  };
}

/** What a proxy lets in. Ours counts as Istio does, a stock Envoy by cluster and connection manager. */
const SIDECAR_REQUESTS = 'inbound.*upstream_rq_total|istio_requests_total.*reporter="destination"';
const GATEWAY_REQUESTS = 'http\\.outbound.*downstream_rq_total|istio_requests_total.*reporter="source"';
