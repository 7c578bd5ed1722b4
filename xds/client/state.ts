import { create } from "@bufbuild/protobuf";
import type { PackedResource } from "../any.ts";
import type { Node } from "../gen/envoy/config/core/v3/base_pb.js";
import {
  type DeltaDiscoveryRequest,
  DeltaDiscoveryRequestSchema,
  type DeltaDiscoveryResponse,
  type DiscoveryRequest,
  DiscoveryRequestSchema,
  type DiscoveryResponse,
} from "../gen/envoy/service/discovery/v3/discovery_pb.js";
import { hashBytes } from "../hash.ts";
import { inPushOrder } from "../type-urls.ts";
import { nameOf } from "./name-of.ts";
import { CHILD, referencesOf } from "./references.ts";

/** What changed in one response. */
export interface Update {
  readonly type: string;
  readonly upserts: readonly PackedResource[];
  readonly removed: readonly string[];
}
export interface Rejection {
  readonly name: string;
  readonly message: string;
}
/** Takes the good resources of an update into use and returns the others; they are NACKed together. */
export type Apply = (update: Update) => readonly Rejection[];

class Subscription {
  wildcard = false;
  names: Set<string> = new Set();
  /** Accepted resources: name -> version. */
  readonly known: Map<string, string> = new Map();
  nonce = "";
  version = "";
  /** Names each accepted parent refers to (EDS of clusters, RDS of listeners). */
  readonly references: Map<string, readonly string[]> = new Map();
}

interface Changes {
  readonly subscribe: string[];
  readonly unsubscribe: string[];
}

/** What both variants share: who is subscribed to what, what was accepted, and how an update is judged. */
abstract class ClientState<Request, Response> {
  protected readonly subscriptions: Map<string, Subscription> = new Map();
  protected readonly node: Node;
  protected connected = false;
  readonly #apply: Apply;

  constructor(node: Node, apply: Apply) {
    this.node = node;
    this.#apply = apply;
  }

  /** Adds a subscription; on a connected stream the requests returned are to be sent. */
  subscribe(type: string, names: readonly string[] | "*"): Request[] {
    const wildcard = names === "*";
    const found = this.subscriptions.get(type);
    const subscription = found ?? new Subscription();
    this.subscriptions.set(type, subscription);
    const fresh = wildcard ? [] : names.filter((name) => !subscription.names.has(name));
    for (const name of fresh) subscription.names.add(name);
    const newWildcard = wildcard && !subscription.wildcard;
    subscription.wildcard ||= wildcard;
    if (!this.connected || (fresh.length === 0 && !newWildcard)) return [];
    if (found === undefined) return [this.first(type, subscription, false)];
    return [this.change(type, subscription, { subscribe: newWildcard ? ["*"] : fresh, unsubscribe: [] })];
  }

  /** A new stream is open: the requests that start it, carrying what is known already. */
  connect(): Request[] {
    this.connected = true;
    const requests: Request[] = [];
    for (const type of inPushOrder(this.subscriptions.keys())) {
      const subscription = this.subscriptions.get(type) as Subscription;
      subscription.nonce = "";
      if (subscription.wildcard || subscription.names.size > 0) {
        requests.push(this.first(type, subscription, requests.length === 0));
      }
    }
    return requests;
  }

  disconnect(): void {
    this.connected = false;
  }

  /** Judges a response; the requests to send: ACK or NACK first, then new subscriptions. */
  abstract receive(response: Response): Request[];
  protected abstract first(type: string, subscription: Subscription, withNode: boolean): Request;
  protected abstract change(type: string, subscription: Subscription, changes: Changes): Request;

  protected accept(type: string, upserts: PackedResource[], removed: string[]): readonly Rejection[] {
    const subscription = this.subscriptions.get(type) as Subscription;
    const rejected: Rejection[] = [];
    const references = new Map<string, string[]>();
    const readable = upserts.filter((resource) => {
      // A response may cross the request that ended interest in its names.
      if (!subscription.wildcard && !subscription.names.has(resource.name) && resource.version !== "")
        return false;
      try {
        references.set(resource.name, referencesOf(type, resource.any));
        return true;
      } catch (error) {
        rejected.push({ name: resource.name, message: `does not decode: ${(error as Error).message}` });
        return false;
      }
    });
    if (readable.length > 0 || removed.length > 0 || upserts.length === 0) {
      rejected.push(...this.#apply({ type, upserts: readable, removed }));
    }
    const bad = new Set(rejected.map((r) => r.name));
    for (const resource of readable) {
      if (bad.has(resource.name)) continue;
      subscription.known.set(resource.name, resource.version);
      subscription.references.set(resource.name, references.get(resource.name) ?? []);
    }
    for (const name of removed) {
      subscription.known.delete(name);
      subscription.references.delete(name);
    }
    return rejected;
  }

  /** Follows what clusters and listeners refer to. */
  protected follow(type: string): Request[] {
    const child = CHILD[type];
    if (child === undefined) return [];
    const parent = this.subscriptions.get(type) as Subscription;
    const wanted = new Set([...parent.references.values()].flat());
    const found = this.subscriptions.get(child);
    if (found === undefined) return wanted.size === 0 ? [] : this.subscribe(child, [...wanted]);
    const subscribe = [...wanted].filter((name) => !found.names.has(name));
    const unsubscribe = [...found.names].filter((name) => !wanted.has(name));
    if (subscribe.length + unsubscribe.length === 0) return [];
    found.names = wanted;
    for (const name of unsubscribe) found.known.delete(name);
    return [this.change(child, found, { subscribe, unsubscribe })];
  }

  /** Accepted versions by type and name, for status and tests. */
  known(): Record<string, Record<string, string>> {
    return Object.fromEntries(
      [...this.subscriptions].map(([type, s]) => [type, Object.fromEntries(s.known)]),
    );
  }
}

const INVALID_ARGUMENT = 3;

function errorDetail(rejected: readonly Rejection[]) {
  if (rejected.length === 0) return {};
  const message = rejected.map((r) => `${r.name}: ${r.message}`).join("\n");
  return { errorDetail: { code: INVALID_ARGUMENT, message } };
}

/** Client side of a DeltaAggregatedResources stream, without socket. */
export class DeltaClientState extends ClientState<DeltaDiscoveryRequest, DeltaDiscoveryResponse> {
  receive(response: DeltaDiscoveryResponse): DeltaDiscoveryRequest[] {
    const type = response.typeUrl;
    const subscription = this.subscriptions.get(type);
    if (subscription === undefined) return [];
    subscription.nonce = response.nonce;
    // istiod leaves Resource.version empty; the hash serves as well.
    const upserts = response.resources.flatMap((r) =>
      r.resource
        ? [{ name: r.name, version: r.version || hashBytes(r.resource.value), any: r.resource }]
        : [],
    );
    const rejected = this.accept(type, upserts, response.removedResources);
    const ack = create(DeltaDiscoveryRequestSchema, {
      typeUrl: type,
      responseNonce: response.nonce,
      ...errorDetail(rejected),
    });
    return [ack, ...this.follow(type)];
  }
  protected first(type: string, s: Subscription, withNode: boolean): DeltaDiscoveryRequest {
    return create(DeltaDiscoveryRequestSchema, {
      typeUrl: type,
      ...(withNode ? { node: this.node } : {}),
      resourceNamesSubscribe: [...(s.wildcard && s.names.size > 0 ? ["*"] : []), ...s.names],
      initialResourceVersions: Object.fromEntries(s.known),
    });
  }
  protected change(type: string, _s: Subscription, changes: Changes): DeltaDiscoveryRequest {
    return create(DeltaDiscoveryRequestSchema, {
      typeUrl: type,
      resourceNamesSubscribe: changes.subscribe,
      resourceNamesUnsubscribe: changes.unsubscribe,
    });
  }
}

/** Client side of a StreamAggregatedResources stream, without socket. */
export class SotwClientState extends ClientState<DiscoveryRequest, DiscoveryResponse> {
  receive(response: DiscoveryResponse): DiscoveryRequest[] {
    const type = response.typeUrl;
    const subscription = this.subscriptions.get(type);
    if (subscription === undefined) return [];
    subscription.nonce = response.nonce;
    const named = response.resources.flatMap((any) => {
      try {
        return [{ name: nameOf(any), version: hashBytes(any.value), any }];
      } catch {
        return [{ name: "(unreadable)", version: "", any }];
      }
    });
    const upserts = named.filter((r) => r.version !== subscription.known.get(r.name));
    // CDS and LDS list everything: absent means deleted. Elsewhere the parent decides.
    const listed = new Set(named.map((r) => r.name));
    const removed = type in CHILD ? [...subscription.known.keys()].filter((name) => !listed.has(name)) : [];
    const rejected = this.accept(type, upserts, removed);
    if (rejected.length === 0) subscription.version = response.versionInfo;
    return [this.#request(type, subscription, rejected), ...this.follow(type)];
  }
  #request(type: string, s: Subscription, rejected: readonly Rejection[] = []): DiscoveryRequest {
    return create(DiscoveryRequestSchema, {
      typeUrl: type,
      versionInfo: s.version,
      responseNonce: s.nonce,
      resourceNames: [...(s.wildcard && s.names.size > 0 ? ["*"] : []), ...s.names],
      ...errorDetail(rejected),
    });
  }
  protected first(type: string, s: Subscription, withNode: boolean): DiscoveryRequest {
    const request = this.#request(type, s);
    if (withNode) request.node = this.node;
    return request;
  }
  protected change(type: string, s: Subscription, _changes: Changes): DiscoveryRequest {
    return this.#request(type, s);
  }
}
