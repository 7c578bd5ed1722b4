import { create } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import type { ResourceSet } from "../any.ts";
import {
  type DeltaDiscoveryRequest,
  type DeltaDiscoveryResponse,
  DeltaDiscoveryResponseSchema,
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

/**
 * Server side of one DeltaAggregatedResources stream, without socket. Requests and resource sets go in; the owner
 * takes responses with `next()` as fast as the peer reads, so updates that arrive meanwhile coalesce.
 */
export class DeltaStream {
  readonly #watches: Map<string, Watch> = new Map();
  readonly #nonce: () => string;
  #set: ResourceSet | undefined;
  /** New clusters whose endpoints the client has yet to ask for. */
  readonly #awaited: Set<string> = new Set();

  constructor(nonce: () => string) {
    this.#nonce = nonce;
  }

  update(set: ResourceSet): void {
    this.#set = set;
  }

  request(request: DeltaDiscoveryRequest): StreamEvent[] {
    const type = request.typeUrl;
    const events: StreamEvent[] = [];
    let watch = this.#watches.get(type);
    const first = watch === undefined;
    checkTypes(this.#watches.size + (first ? 1 : 0));
    const known = this.#set?.get(type)?.size ?? 0;
    checkNames(request.resourceNamesSubscribe, watch?.names, known);
    if (first) checkNames(Object.keys(request.initialResourceVersions), undefined, known);
    if (watch === undefined) {
      watch = new Watch();
      this.#watches.set(type, watch);
    } else if (request.responseNonce !== "") {
      events.push(watch.settle(type, request.responseNonce, request.errorDetail?.message));
      if (watch.nack !== undefined) this.#awaited.clear();
    }
    // Subscriptions count whatever the nonce says: only the acknowledgement in a stale request is void.
    const versions = first ? request.initialResourceVersions : {};
    if (first) this.#start(watch, request);
    if (first || request.resourceNamesSubscribe.length + request.resourceNamesUnsubscribe.length > 0)
      watch.upToDate = undefined;
    for (const name of request.resourceNamesSubscribe) {
      if (name === "*") {
        watch.mustReply ||= !watch.wildcard;
        watch.wildcard = true;
        continue;
      }
      watch.names.add(name);
      // Asking again for a known name means that the client lost it.
      if (!Object.hasOwn(versions, name)) watch.drop(name);
    }
    for (const name of request.resourceNamesUnsubscribe) {
      if (name === "*") watch.wildcard = false;
      watch.names.delete(name);
      if (!watch.wildcard) watch.again.delete(name);
    }
    if (request.resourceNamesUnsubscribe.length > 0) {
      for (const name of watch.sent.keys()) if (!watch.wants(name)) watch.drop(name);
    }
    if (first || request.resourceNamesSubscribe.length + request.resourceNamesUnsubscribe.length > 0) {
      events.push({ kind: "subscribe", type, nonce: request.responseNonce });
    }
    return events;
  }

  #start(watch: Watch, request: DeltaDiscoveryRequest): void {
    if (request.resourceNamesSubscribe.length === 0 && isWildcardType(request.typeUrl)) {
      watch.wildcard = true;
      watch.mustReply = true;
    }
    for (const [name, version] of Object.entries(request.initialResourceVersions)) {
      watch.put(name, { name, version, any: NOTHING });
    }
  }

  /** The next response due, in push order with removals of clusters last; undefined when the client is up to date. */
  next(): DeltaDiscoveryResponse | undefined {
    const set = this.#set;
    if (set === undefined) return undefined;
    const types = inPushOrder(this.#watches.keys());
    let held = false;
    for (const type of types) {
      if (additionHeld(type, this.#watches, this.#awaited)) {
        held ||= this.#watches.get(type)?.isUpToDate(set.get(type)) === false;
        continue;
      }
      const response = this.#respond(set, type, false);
      if (response !== undefined) return response;
    }
    // What goes may still be in use by what has to wait.
    if (held) return undefined;
    for (const type of types) {
      if (removalHeld(type, this.#watches)) continue;
      const response = this.#respond(set, type, true);
      if (response !== undefined) return response;
    }
    return undefined;
  }

  #respond(set: ResourceSet, type: string, removals: boolean): DeltaDiscoveryResponse | undefined {
    const watch = this.#watches.get(type);
    if (watch === undefined || watch.isUpToDate(set.get(type))) return undefined;
    const desired = desiredNames(set, type, watch);
    // A listener may take over the address of one that goes: both in one response. The rest is removed at the end.
    const removeNow = removals || type === TYPE.listener;
    const resources = [];
    const removed: string[] = [];
    let later = false;
    for (const name of desired) {
      const resource = resolve(set, type, name);
      const had = watch.sent.get(name);
      const vanished = had !== undefined && set.get(type)?.has(name) !== true;
      if (vanished && !removeNow && had.version !== resource?.version) {
        later = true;
        continue;
      }
      if (resource === undefined) {
        if (had !== undefined || !watch.sent.has(name)) removed.push(name);
      } else if (had?.version !== resource.version || watch.again.has(name)) resources.push(resource);
    }
    if (removeNow) for (const name of watch.sent.keys()) if (!desired.has(name)) removed.push(name);
    const done = (): void => {
      // Whatever was sent is desired, and all of it is as it should be.
      if (removeNow || (!later && watch.sent.size === desired.size)) watch.upToDate = set.get(type) ?? NONE;
    };
    if (resources.length === 0 && removed.length === 0 && !watch.mustReply) {
      done();
      return undefined;
    }
    if (type === TYPE.cluster) {
      const endpoints = this.#watches.get(TYPE.endpoints);
      for (const { name } of resources)
        if (endpoints?.sent.has(name) === false && set.get(TYPE.endpoints)?.has(name))
          this.#awaited.add(name);
      for (const name of removed) this.#awaited.delete(name);
      endpointsAgain(
        this.#watches,
        resources.map((r) => r.name),
      );
    }
    for (const resource of resources) {
      watch.put(resource.name, resource);
      if (type === TYPE.endpoints) this.#awaited.delete(resource.name);
    }
    for (const name of removed) {
      if (desired.has(name)) watch.put(name, undefined);
      else watch.drop(name);
    }
    done();
    watch.again.clear();
    watch.mustReply = false;
    watch.nonce = this.#nonce();
    watch.version = watch.sum();
    return create(DeltaDiscoveryResponseSchema, {
      typeUrl: type,
      nonce: watch.nonce,
      systemVersionInfo: watch.version,
      resources: resources.map((r) => ({ name: r.name, version: r.version, resource: r.any })),
      removedResources: removed,
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

const NOTHING = create(AnySchema);
