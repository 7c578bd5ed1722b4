/** Walks one request through the configuration that the proxies run: the caller's way out, then each destination. */
import { lookup } from "node:dns/promises";
import type { ServiceInfo } from "#control-plane/admin/contract.ts";
import { chooseTransport, isHealthy } from "#sidecar/cluster/balancer.ts";
import { decide, type Forwarded } from "#sidecar/decide.ts";
import { evaluateFault } from "#sidecar/filters/fault.ts";
import { acceptedPath } from "#sidecar/path/accepted.ts";
import type { Cluster, FilterChain, Host, Route, Snapshot } from "#sidecar/snapshot.ts";
import { UserError } from "../errors.ts";
import { authorize } from "./authorization.ts";
import type { Destination, Explanation, Outcome, Place, Step } from "./contract.ts";
import type { Asked, RequestHead } from "./head.ts";
import { bare, type Landing, land, step } from "./inbound.ts";
import { placeIn, placeOf, sourceIn } from "./places.ts";
import { answerText, routeDetails } from "./route.ts";
import { type Start, start, startPod } from "./source.ts";
import { verdictOf } from "./verdict.ts";
import type { MeshView, ProxyConfig } from "./view.ts";

/** `from`: the pod or workload that asks; null: from outside, at a gateway. Nothing is sent. Throws UserError. */
export async function explain(view: MeshView, asked: Asked, from: string | null): Promise<Explanation> {
  const pod = startPod(view, asked, from);
  const config = await view.config(pod);
  if (config === null)
    throw new UserError(`the proxy of ${pod.pod} is not connected to the control plane: see weft status`);
  const begin = start(view, asked, pod, from !== null, config.snapshot);
  const way = await wayOut(view, config, begin);
  const tcp = asked.head === null;
  // A connection has no status: it is open, or it is not.
  const plain = (o: Outcome): Outcome => (tcp ? { ...o, status: 0 } : o);
  const outcomes = [...way.early, ...merged(way.destinations.map((d) => d.outcome))].map(plain);
  return {
    request: {
      method: asked.head?.method ?? "TCP",
      url: asked.url.href,
      headers: Object.fromEntries(
        [...(asked.head?.headers ?? [])].map(([name, values]) => [name, values.join(", ")]),
      ),
    },
    from: {
      kind: begin.outside ? "outside" : "pod",
      pod: pod.pod,
      spiffeId: begin.outside ? null : pod.spiffeId,
    },
    steps: way.steps,
    destinations: way.destinations.map((d) => ({ ...d, outcome: plain(d.outcome) })),
    outcomes,
    verdict: verdictOf(outcomes, tcp),
  };
}

interface Way {
  readonly steps: Step[];
  /** Ends before any destination is chosen. */
  readonly early: Outcome[];
  readonly destinations: Destination[];
}

async function wayOut(view: MeshView, { snapshot, wire, lag }: ProxyConfig, from: Start): Promise<Way> {
  const steps: Step[] = [];
  const early: Outcome[] = [];
  const ends = (status: number, because: string, place: Place | null = null): Way => {
    early.push({ share: 1, status, reachesApp: false, because, place });
    return { steps, early, destinations: [] };
  };
  const { pod, facts } = from;
  const who = from.outside ? `a client outside, to ${pod.pod}` : `${pod.pod}, ${bare(from.identity)}`;
  steps.push({
    ...step("client", true, who),
    details: from.note === null ? [] : [{ text: from.note, place: null }],
  });
  if (lag !== null) steps.push(lag);

  let { head } = from;
  const first = decide(snapshot, { listener: from.listener, facts, head });
  const listener = first.listener === null ? undefined : snapshot.listeners.get(first.listener);
  const chain = listener?.findFilterChain(facts) ?? null;
  if (listener === undefined || chain === null) {
    const because =
      listener === undefined
        ? from.outside
          ? `no Gateway opens port ${facts.destinationPort} of ${pod.pod}: the connection is refused`
          : `nothing of the proxy listens for ${from.dialled}: in explicit mode only a Service's own address and the HTTP proxy lead into the mesh`
        : `no filter chain of ${listener.name} matches: the connection is closed`;
    steps.push(step("listener", false, because));
    return ends(0, because);
  }
  steps.push(step("listener", true, `${listener.name}${tableOf(chain)}`));
  if (head !== null && chain.terminal.kind === "http") {
    const path = acceptedPath(head.path, chain.terminal);
    if (path === null) {
      steps.push(step("route", false, `the path ${head.path} is refused`));
      return ends(400, "the path does not pass normalisation");
    }
    head = head.with({ path });
  }
  const at = { listener: listener.name, wire, workload: pod };
  const { steps: authorization, deniedBy } = authorize(chain, at, facts, head);
  if (deniedBy !== null || (pod.kind === "gateway" && pod.authorization.length > 0))
    steps.push(...authorization);
  if (deniedBy !== null) {
    const last = authorization.at(-1)!;
    const detail = last.details[0];
    return ends(
      deniedBy === "request" ? 403 : 0,
      detail === undefined ? last.text : `${last.text}: ${detail.text}`,
      last.place ?? detail?.place ?? null,
    );
  }
  const decision = decide(snapshot, { listener: from.listener, facts, head });
  const hit = chain.terminal.kind === "http" && head !== null ? chain.terminal.routes.find(head) : null;
  const route = hit?.route ?? null;
  const place = placeIn(decision.config, decision.source) ?? servicePlace(view, decision.clusters[0]?.name);
  if (head !== null && chain.terminal.kind === "http") {
    if (route !== null)
      steps.push({
        ...step("route", true, `${hit!.virtualHost.name}, ${matchText(route)}`, place),
        details: routeDetails(route, hit!.virtualHost, head, decision.clusters[0]?.forwarded ?? null),
      });
    const fault = faultStep(chain, route, head, place);
    if (fault !== null) {
      steps.push(fault.step);
      if (fault.abort !== null) early.push(fault.abort);
      if (fault.abort?.share === 1) return { steps, early, destinations: [] };
    }
    if (route === null) {
      steps.push({
        ...step(
          "route",
          false,
          hit === null
            ? `no host ${head.authority}`
            : `${hit.virtualHost.name}: no route matches ${head.path}`,
        ),
        details: (hit?.virtualHost.routes ?? []).slice(0, 10).map((r) => ({
          text: `asked: ${matchText(r)}`,
          place: placeIn(r.config, r.source),
        })),
      });
      return ends(
        404,
        hit === null
          ? `no host of ${listener.name} is called ${head.authority}`
          : `no route of ${hit.virtualHost.name} matches ${head.method} ${head.path}`,
        hit === null
          ? null
          : placeIn(hit.virtualHost.routes[0]?.config ?? null, hit.virtualHost.routes[0]?.source ?? null),
      );
    }
    if (route.action.kind !== "route") {
      const because = decision.reason === "direct_response" ? answerText(route, place) : decision.reason;
      steps.push(step("route", false, `${decision.status}: ${because}`, place));
      return ends(decision.status ?? 0, because, place);
    }
  }
  if (head === null && chain.terminal.kind === "http") {
    const because = `${listener.name} speaks HTTP only: what is no HTTP is refused`;
    steps.push(step("chain", false, because));
    return ends(0, because);
  }
  if (head !== null && chain.terminal.kind === "http" && chain.terminal.useRemoteAddress)
    head = head.with({ headers: withClient(head.headers, facts.sourceAddress) });
  const left = 1 - early.reduce((sum, o) => sum + o.share, 0);
  const total = decision.clusters.reduce((sum, c) => sum + c.weight, 0) || 1;
  const wanted = decision.clusters.filter((c) => c.weight > 0);
  const destinations = await Promise.all(
    wanted.map((c) =>
      toCluster(view, snapshot, from, head === null ? null : forwarded(head, c.forwarded), {
        name: c.name,
        share: (left * c.weight) / total,
        missing: route?.action.kind === "route" ? route.action.clusterNotFoundStatus : 503,
        place,
      }),
    ),
  );
  return { steps, early, destinations: destinations.flat() };
}

/** The edge writes down whom it was asked by. */
function withClient(headers: RequestHead["headers"], client: string): RequestHead["headers"] {
  return new Map([...headers, ["x-forwarded-for", [...(headers.get("x-forwarded-for") ?? []), client]]]);
}

async function toCluster(
  view: MeshView,
  snapshot: Snapshot,
  from: Start,
  head: RequestHead | null,
  to: { name: string; share: number; missing: number; place: Place | null },
): Promise<Destination[]> {
  const cluster = snapshot.clusters.get(to.name);
  const one = (pods: string[], steps: Step[], outcome: Omit<Outcome, "share">): Destination[] => [
    { cluster: to.name, share: to.share, pods, steps, outcome: { ...outcome, share: to.share } },
  ];
  const ends = (
    kind: Step["kind"],
    status: number,
    text: string,
    place: Place | null,
    details: Step["details"] = [],
  ) =>
    one([], [{ ...step(kind, false, text, place), details }], {
      status,
      reachesApp: false,
      because: text,
      place,
    });
  if (cluster === undefined)
    return ends("cluster", to.missing, `${to.name} does not exist: no such service or subset`, to.place);
  if (to.name === "BlackHoleCluster")
    return ends(
      "cluster",
      head === null ? 0 : 502,
      "REGISTRY_ONLY: what the mesh does not know is closed",
      null,
    );
  const rule = placeIn(cluster.istio.config, sourceIn(cluster.metadata));
  const subset = cluster.istio.subset === null ? "" : `, subset ${cluster.istio.subset}`;
  const chosen = {
    ...step("cluster", true, `${to.name}${subset}`, rule),
    details: head === null ? [] : notSpoken(view, to.name),
  };
  const dialled = from.facts;
  if (cluster.type !== "EDS" && cluster.type !== "STATIC") {
    // The address that the client asked for, as it is.
    const shut = from.outside ? null : noSuchPort(view, from);
    if (shut !== null) return ends("endpoints", head === null ? 0 : 503, shut.text, shut.place);
    if (from.explicit && !from.outside && cluster.type === "ORIGINAL_DST") {
      const text = `${from.dialled} is no host that the mesh knows, and an explicit proxy cannot tell its address: a ServiceEntry makes it known`;
      return ends("endpoints", 503, text, null);
    }
    if (cluster.type === "DYNAMIC_FORWARD_PROXY" && head !== null && !(await hasAddress(head.authority))) {
      const text = `${from.dialled} is no host that the mesh knows, and this machine's name servers have no address of it`;
      return ends("endpoints", 503, text, null);
    }
    const known = cluster.type === "ORIGINAL_DST" ? view.at(dialled.destinationAddress) : undefined;
    if (known === undefined) {
      const text = `${from.dialled}, outside of the mesh`;
      return one([from.dialled], [chosen, step("app", true, text)], {
        status: 200,
        reachesApp: true,
        because: `${from.dialled} is asked, outside of the mesh`,
        place: null,
      });
    }
    const arrival = {
      address: known.ip,
      port: dialled.destinationPort,
      tls: null,
      cluster,
      caller: from.pod,
      head,
    };
    const { pod, steps, outcome } = await land(view, arrival);
    return one([pod], [chosen, ...steps], outcome);
  }
  const healthy = cluster.hosts.filter((h) => isHealthy(h, 0));
  const usable = healthy.length > 0 || cluster.healthyPanicThreshold === 0 ? healthy : cluster.hosts;
  if (usable.length === 0) {
    const [service] = cluster.istio.services;
    const name = service === undefined ? to.name : `${service.namespace}/${service.name}`;
    const why =
      cluster.hosts.length === 0
        ? `no ready pod belongs to Service ${name}${subset}`
        : `none of the ${cluster.hosts.length} endpoints of ${name}${subset} is healthy`;
    const details = [
      ...(rule === null ? [] : [{ text: "its DestinationRule", place: rule }]),
      ...cluster.hosts.map((h) => ({ text: `${nameOf(view, h)} ${h.health}`, place: null })),
    ];
    return ends("endpoints", 503, why, rule ?? servicePlace(view, to.name), details);
  }
  const landings = await Promise.all(
    usable.map(async (h) => ({
      weight: h.weight,
      landing: await land(view, {
        address: h.address,
        port: h.port,
        tls: chooseTransport(cluster, h).tls,
        cluster,
        caller: from.pod,
        head,
      }),
    })),
  );
  const total = landings.reduce((sum, l) => sum + l.weight, 0) || 1;
  const endpoints = step("endpoints", true, endpointText(view, usable, cluster));
  return alike(landings).map(({ landing, weight, pods }) => {
    const share = (to.share * weight) / total;
    return {
      cluster: to.name,
      share,
      pods,
      steps: [chosen, endpoints, ...landing.steps],
      outcome: { ...landing.outcome, share },
    };
  });
}

/** Asked of the name servers that the proxy asks, too: it runs on this machine. */
async function hasAddress(authority: string): Promise<boolean> {
  const host = new URL(`http://${authority}`).hostname.replace(/^\[|\]$/g, "");
  return await lookup(host).then(
    () => true,
    () => false,
  );
}

/** The request asked about is HTTP/1.1; a port that promises more is worth a word. */
function notSpoken(view: MeshView, cluster: string): Step["details"] {
  const number = cluster.split("|")[1];
  const service = serviceOf(view, cluster);
  const port = service?.ports.find((p) => p.number === Number(number));
  if (service === undefined || (port?.protocol !== "grpc" && port?.protocol !== "http2")) return [];
  const text = `port ${number} is declared ${port.protocol}: Weft's sidecars speak HTTP/1.1 alone there, and answer HTTP/2 and gRPC with 400`;
  return [{ text, place: servicePlace(view, cluster) }];
}

/** Pods that differ in nothing but their name are shown once. */
function alike(
  landings: readonly { landing: Landing; weight: number }[],
): { landing: Landing; weight: number; pods: string[] }[] {
  const groups = new Map<string, { landing: Landing; weight: number; pods: string[] }>();
  for (const { landing, weight } of landings) {
    const key = JSON.stringify([landing.steps, landing.outcome]).replaceAll(landing.pod, "POD");
    const group = groups.get(key);
    if (group === undefined) groups.set(key, { landing, weight, pods: [landing.pod] });
    else {
      group.weight += weight;
      group.pods.push(landing.pod);
    }
  }
  return [...groups.values()];
}

function merged(outcomes: readonly Outcome[]): Outcome[] {
  const all = new Map<string, Outcome>();
  for (const o of outcomes) {
    const key = JSON.stringify([o.status, o.because]);
    const before = all.get(key);
    all.set(key, before === undefined ? o : { ...o, share: before.share + o.share });
  }
  return [...all.values()];
}

function faultStep(
  chain: FilterChain,
  route: Route | null,
  head: RequestHead,
  place: Place | null,
): { step: Step; abort: Outcome | null } | null {
  if (chain.terminal.kind !== "http") return null;
  const filter = chain.terminal.filters.find((f) => f.kind === "fault");
  if (filter?.kind !== "fault") return null;
  const policy = route?.fault ?? filter.fault;
  // The dice are loaded: what may happen, whatever its chance.
  const verdict = evaluateFault(policy, head, () => 0);
  if (policy === null || (verdict.delayMs === 0 && verdict.abortStatus === 0)) return null;
  const percent = (perMillion: number | undefined) => `${(perMillion ?? 0) / 10_000} %`;
  const parts = [
    ...(verdict.delayMs > 0 ? [`${verdict.delayMs} ms delay for ${percent(policy.delay?.perMillion)}`] : []),
    ...(verdict.abortStatus > 0 ? [`${verdict.abortStatus} for ${percent(policy.abort?.perMillion)}`] : []),
  ];
  const text = `injected: ${parts.join(", ")}`;
  const share = (policy.abort?.perMillion ?? 0) / 1_000_000;
  const abort =
    verdict.abortStatus === 0
      ? null
      : { share, status: verdict.abortStatus, reachesApp: false, because: "a fault is injected", place };
  return { step: step("fault", share < 1 || abort === null, text, place), abort };
}

function forwarded(head: RequestHead, to: Forwarded | null): RequestHead {
  if (to === null) return head;
  const headers = new Map(head.headers);
  for (const edit of to.headers) {
    if (edit.kind === "remove") headers.delete(edit.name);
    else {
      const value = edit.value(() => null);
      const before = headers.get(edit.name);
      if (edit.kind === "append") headers.set(edit.name, [...(before ?? []), value]);
      else if (edit.kind === "overwrite" || (before === undefined) === (edit.kind === "add-if-absent"))
        headers.set(edit.name, [value]);
    }
  }
  return head.with({ authority: to.authority, path: to.path, headers });
}

function tableOf({ terminal }: FilterChain): string {
  return terminal.kind === "tcp" ? ", TCP" : `, routes ${terminal.routeConfigName ?? terminal.routes.name}`;
}

function matchText(route: Route): string {
  return route.match.text === "" ? route.name : route.match.text;
}

function servicePlace(view: MeshView, cluster: string | undefined): Place | null {
  const service = serviceOf(view, cluster);
  return service === undefined ? null : placeOf(service.source);
}

function serviceOf(view: MeshView, cluster: string | undefined): ServiceInfo | undefined {
  const host = cluster?.split("|")[3];
  if (host === undefined || host === "") return undefined;
  return view.services.find((s) => s.host === host || host.endsWith(`.${s.host}`));
}

function nameOf(view: MeshView, host: Host): string {
  return view.at(host.address)?.pod ?? host.pipe ?? `${host.address}:${host.port}`;
}

function endpointText(view: MeshView, usable: readonly Host[], cluster: Cluster): string {
  const names = usable.slice(0, 5).map((h) => `${nameOf(view, h)} ${h.address}:${h.port}`);
  const more = usable.length > 5 ? ` and ${usable.length - 5} more` : "";
  const ill = cluster.hosts.length - usable.length;
  return `${names.join(", ")}${more}${ill > 0 ? `; ${ill} not healthy` : ""}`;
}

/** A Service's own address at a port that it does not have: nobody answers there. */
function noSuchPort(view: MeshView, { facts }: Start): { text: string; place: Place } | null {
  const service = view.services.find((s) => s.addresses.includes(facts.destinationAddress));
  if (service === undefined || service.source.kind !== "Service") return null;
  const numbers = service.ports.map((p) => p.number);
  if (numbers.includes(facts.destinationPort)) return null;
  const has = numbers.length === 0 ? "it has none" : `it has ${numbers.join(", ")}`;
  const text = `Service ${service.namespace}/${service.name} has no port ${facts.destinationPort}: ${has}`;
  return { text, place: placeOf(service.source) };
}
