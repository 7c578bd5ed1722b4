import { createHash } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import { type PackedResource, packResource, type ResourceSet } from "../any.ts";
import { ClusterLoadAssignmentSchema } from "../gen/envoy/config/endpoint/v3/endpoint_pb.js";
import { RouteConfigurationSchema } from "../gen/envoy/config/route/v3/route_pb.js";
import { TYPE } from "../type-urls.ts";

/** What became of a request; for logs, metrics and tests. */
export interface StreamEvent {
  readonly kind: "ack" | "nack" | "stale" | "subscribe";
  readonly type: string;
  readonly nonce: string;
  /** The client's error text, of a nack. */
  readonly message?: string;
}

/** Where one type of one stream stands. */
export interface TypeStatus {
  readonly sent: string;
  readonly acked: string;
  readonly nonceSent: string;
  readonly nonceAcked: string;
  /** Text of the last NACK; gone with the next ACK. */
  readonly nack?: string;
  readonly resources: number;
  /** false: there is more for the client, which has to wait for what comes first, or for a peer that does not read. */
  readonly upToDate: boolean;
}

/** One type on one stream, of either protocol variant. */
export class Watch {
  wildcard = false;
  readonly names: Set<string> = new Set();
  readonly #sent: Map<string, PackedResource | undefined> = new Map();
  /** Sum over what was sent: the version of the set, whatever its order, at the cost of what changed. */
  #sum = 0n;
  /** The resources with which the client is known to be up to date; undefined = to be compared again. */
  upToDate: ReadonlyMap<string, PackedResource> | undefined;
  /** Names to send once more although unchanged. */
  readonly again: Set<string> = new Set();
  /** The next response goes out even without content. */
  mustReply = false;
  nonce = "";
  version = "";
  ackedNonce = "";
  ackedVersion = "";
  nack: string | undefined;

  /** A response is on its way or was refused: what the client runs may still be the former config. */
  get unsettled(): boolean {
    return this.nonce !== this.ackedNonce;
  }
  /** What the client was last sent; `undefined` = it was told that the name does not exist. */
  get sent(): ReadonlyMap<string, PackedResource | undefined> {
    return this.#sent;
  }
  put(name: string, resource: PackedResource | undefined): void {
    if (this.#sent.has(name)) this.#sum -= weigh(name, this.#sent.get(name));
    this.#sent.set(name, resource);
    this.#sum += weigh(name, resource);
  }
  drop(name: string): void {
    if (!this.#sent.has(name)) return;
    this.#sum -= weigh(name, this.#sent.get(name));
    this.#sent.delete(name);
  }
  /** Version of all that was sent. */
  sum(): string {
    return BigInt.asUintN(96, this.#sum).toString(36);
  }
  /** Nothing to send: the resources are those of the last comparison, and nobody asked for more. */
  isUpToDate(resources: ReadonlyMap<string, PackedResource> | undefined): boolean {
    return this.upToDate === (resources ?? NONE) && !this.mustReply && this.again.size === 0;
  }
  /** A response is on its way, neither accepted nor refused. */
  get underWay(): boolean {
    return this.unsettled && this.nack === undefined;
  }
  wants(name: string): boolean {
    return this.wildcard || this.names.has(name);
  }
  /** Settles the last response; false when the request is about an older one. */
  settle(type: string, nonce: string, error: string | undefined): StreamEvent {
    if (nonce !== this.nonce) return { kind: "stale", type, nonce };
    if (error !== undefined) {
      this.nack = error;
      return { kind: "nack", type, nonce, message: error };
    }
    this.nack = undefined;
    this.ackedNonce = nonce;
    this.ackedVersion = this.version;
    return { kind: "ack", type, nonce };
  }
  /** @param resources what the client is to have of this type */
  status(resources: ReadonlyMap<string, PackedResource> | undefined): TypeStatus {
    return {
      sent: this.version,
      acked: this.ackedVersion,
      nonceSent: this.nonce,
      nonceAcked: this.ackedNonce,
      ...(this.nack === undefined ? {} : { nack: this.nack }),
      resources: this.sent.size,
      upToDate: this.isUpToDate(resources),
    };
  }
}

export const NONE: ReadonlyMap<string, PackedResource> = new Map();

function weigh(name: string, resource: PackedResource | undefined): bigint {
  const hash = createHash("sha256")
    .update(`${name}\0${resource?.version ?? ""}`)
    .digest();
  return (hash.readBigUInt64LE(0) << 32n) | BigInt(hash.readUInt32LE(8));
}

/**
 * The resource to answer for a name. Envoy waits for EDS and RDS of any name it asked for, so unknown
 * names of these types get an empty resource, as istiod does.
 */
export function resolve(set: ResourceSet, type: string, name: string): PackedResource | undefined {
  return set.get(type)?.get(name) ?? emptyResource(type, name);
}

function emptyResource(type: string, name: string): PackedResource | undefined {
  if (type === TYPE.endpoints) {
    return packResource(
      ClusterLoadAssignmentSchema,
      name,
      create(ClusterLoadAssignmentSchema, { clusterName: name }),
    );
  }
  if (type === TYPE.route) {
    return packResource(RouteConfigurationSchema, name, create(RouteConfigurationSchema, { name }));
  }
  return undefined;
}

/** Names a watch should have now. */
export function desiredNames(set: ResourceSet, type: string, watch: Watch): ReadonlySet<string> {
  if (!watch.wildcard) return watch.names;
  const names = new Set(watch.names);
  for (const name of set.get(type)?.keys() ?? []) names.add(name);
  return names;
}

/**
 * Whether what disappeared from `type` must still stay with the client, because what refers to it may be in use:
 * clusters until listeners and routes without them are accepted, endpoints until the cluster is gone, routes until
 * the listener is.
 */
export function removalHeld(type: string, watches: ReadonlyMap<string, Watch>): boolean {
  const unsettled = (other: string): boolean => watches.get(other)?.unsettled ?? false;
  if (type === TYPE.cluster) return unsettled(TYPE.listener) || unsettled(TYPE.route);
  if (type === TYPE.endpoints)
    return unsettled(TYPE.cluster) || unsettled(TYPE.listener) || unsettled(TYPE.route);
  if (type === TYPE.route) return unsettled(TYPE.listener);
  return false;
}

/**
 * Whether listeners and routes must wait: those clusters that they may lead to are on their way, and a cluster serves
 * only once its endpoints are there. A refusal ends the waiting: the client then keeps what it has.
 */
export function additionHeld(
  type: string,
  watches: ReadonlyMap<string, Watch>,
  awaited: ReadonlySet<string>,
): boolean {
  // Who has none yet has nothing to break.
  if ((type !== TYPE.listener && type !== TYPE.route) || watches.get(type)?.sent.size === 0) return false;
  const endpoints = watches.get(TYPE.endpoints);
  return (
    watches.get(TYPE.cluster)?.underWay === true ||
    (endpoints !== undefined && (awaited.size > 0 || endpoints.underWay))
  );
}

/** Envoy warms an updated cluster until it gets its endpoints again, changed or not (names are equal here). */
export function endpointsAgain(watches: ReadonlyMap<string, Watch>, clusters: Iterable<string>): void {
  const endpoints = watches.get(TYPE.endpoints);
  if (endpoints === undefined) return;
  for (const name of clusters) if (endpoints.wants(name)) endpoints.again.add(name);
}
