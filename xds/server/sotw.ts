import { create } from "@bufbuild/protobuf";
import type { PackedResource, ResourceSet } from "../any.ts";
import {
  type DiscoveryRequest,
  type DiscoveryResponse,
  DiscoveryResponseSchema,
} from "../gen/envoy/service/discovery/v3/discovery_pb.js";
import { inPushOrder, isWildcardType, TYPE } from "../type-urls.ts";
import { checkNames, checkTypes } from "./limits.ts";
import {
  additionHeld,
  desiredNames,
  endpointsAgain,
  NONE,
  removalHeld,
  resolve,
  type StreamEvent,
  type TypeStatus,
  Watch,
} from "./watch.ts";

/** Server side of one StreamAggregatedResources stream (state of the world), without socket; used as DeltaStream. */
export class SotwStream {
  readonly #watches: Map<string, Watch> = new Map();
  readonly #nonce: () => string;
  #set: ResourceSet | undefined;

  constructor(nonce: () => string) {
    this.#nonce = nonce;
  }

  update(set: ResourceSet): void {
    this.#set = set;
  }

  request(request: DiscoveryRequest): StreamEvent[] {
    const type = request.typeUrl;
    const nonce = request.responseNonce;
    let watch = this.#watches.get(type);
    checkTypes(this.#watches.size + (watch === undefined ? 1 : 0));
    checkNames(request.resourceNames, undefined, this.#set?.get(type)?.size ?? 0);
    if (watch === undefined || nonce === "") {
      const former = watch;
      watch = new Watch();
      if (former !== undefined) {
        // A response may still be on its way to the client, which will acknowledge it and build on its nonce.
        watch.nonce = former.nonce;
        watch.version = former.version;
        watch.ackedNonce = former.ackedNonce;
      }
      this.#watches.set(type, watch);
      this.#subscribe(type, watch, request.resourceNames);
      watch.mustReply = watch.wildcard || watch.names.size > 0;
      return [{ kind: "subscribe", type, nonce }];
    }
    const event = watch.settle(type, nonce, request.errorDetail?.message);
    if (event.kind === "stale") return [event];
    const before = new Set(watch.names);
    const wasWildcard = watch.wildcard;
    this.#subscribe(type, watch, request.resourceNames);
    const added = [...watch.names].some((name) => !before.has(name)) || (watch.wildcard && !wasWildcard);
    if (added) watch.mustReply = true;
    return added ? [event, { kind: "subscribe", type, nonce }] : [event];
  }

  #subscribe(type: string, watch: Watch, names: string[]): void {
    watch.upToDate = undefined;
    // A client that once named its clusters and names none now wants none; only the first empty list is a wildcard.
    const legacy = names.length === 0 && isWildcardType(type) && watch.names.size === 0;
    watch.wildcard = legacy || names.includes("*");
    watch.names.clear();
    for (const name of names) if (name !== "*") watch.names.add(name);
    for (const name of watch.sent.keys()) if (!watch.wants(name)) watch.drop(name);
  }

  next(): DiscoveryResponse | undefined {
    const set = this.#set;
    if (set === undefined) return undefined;
    const types = inPushOrder(this.#watches.keys());
    let held = false;
    for (const removals of [false, true]) {
      // What goes may still be in use by what has to wait.
      if (removals && held) return undefined;
      for (const type of types) {
        if (removals && removalHeld(type, this.#watches)) continue;
        if (additionHeld(type, this.#watches, NOBODY)) {
          held ||= this.#watches.get(type)?.isUpToDate(set.get(type)) === false;
          continue;
        }
        const response = this.#respond(set, type, removals);
        if (response !== undefined) return response;
      }
    }
    return undefined;
  }

  #respond(set: ResourceSet, type: string, removals: boolean): DiscoveryResponse | undefined {
    const watch = this.#watches.get(type);
    if (watch === undefined || watch.isUpToDate(set.get(type))) return undefined;
    const desired = desiredNames(set, type, watch);
    const removeNow = removals || type === TYPE.listener;
    const all: PackedResource[] = [];
    const changed: PackedResource[] = [];
    for (const name of desired) {
      const had = watch.sent.get(name);
      const vanished = had !== undefined && set.get(type)?.has(name) !== true;
      const resource = vanished && !removeNow ? had : resolve(set, type, name);
      if (resource === undefined) continue;
      all.push(resource);
      if (had?.version !== resource.version || watch.again.has(name)) changed.push(resource);
    }
    if (removeNow) watch.upToDate = set.get(type) ?? NONE;
    const listed = new Set(all.map((r) => r.name));
    const gone = [...watch.sent.keys()].filter((name) => !listed.has(name));
    const whole = isWildcardType(type);
    if (whole && !removeNow) {
      // Absent means deleted here: until removals are due, clusters that go are still listed.
      for (const name of gone) all.push(watch.sent.get(name) as PackedResource);
    }
    const removing = removeNow && gone.length > 0;
    if (changed.length === 0 && !watch.mustReply && !(whole && removing)) {
      if (removing) for (const name of gone) watch.drop(name);
      return undefined;
    }
    if (type === TYPE.cluster) {
      endpointsAgain(
        this.#watches,
        changed.map((r) => r.name),
      );
    }
    for (const resource of all) watch.put(resource.name, resource);
    if (removing) for (const name of gone) watch.drop(name);
    watch.again.clear();
    watch.mustReply = false;
    watch.nonce = this.#nonce();
    watch.version = watch.sum();
    return create(DiscoveryResponseSchema, {
      typeUrl: type,
      nonce: watch.nonce,
      versionInfo: watch.version,
      // EDS and RDS may be partial (absent means unchanged); LDS and CDS never.
      resources: (whole ? all : changed).map((r) => r.any),
    });
  }

  status(): Record<string, TypeStatus> {
    return Object.fromEntries(
      inPushOrder(this.#watches.keys()).map((t) => [
        t,
        (this.#watches.get(t) as Watch).status(this.#set?.get(t)),
      ]),
    );
  }
}

/** Which clusters are new is not tracked here: endpoints that are on their way are waited for, no more. */
const NOBODY: ReadonlySet<string> = new Set();
