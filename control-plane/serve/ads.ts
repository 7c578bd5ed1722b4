import { randomBytes } from "node:crypto";
import { type Metadata, type Server, type ServerDuplexStream, status as Status } from "@grpc/grpc-js";
import { type Clock, systemClock } from "#lib/clock.ts";
import type { Logger } from "#lib/log.ts";
import type { Node } from "#xds/gen/envoy/config/core/v3/base_pb.js";
import { AggregatedDiscoveryService } from "#xds/gen/envoy/service/discovery/v3/ads_pb.js";
import type {
  DeltaDiscoveryRequest,
  DeltaDiscoveryResponse,
  DiscoveryRequest,
  DiscoveryResponse,
} from "#xds/gen/envoy/service/discovery/v3/discovery_pb.js";
import {
  DeltaStream,
  LimitExceeded,
  type ResourceSet,
  SotwStream,
  type StreamEvent,
  shortType,
  toGrpc,
} from "#xds/index.ts";
import type { ProxyStatus } from "./status.ts";

/** Who a caller proved to be. */
export interface CallerIdentity {
  readonly namespace: string;
  readonly serviceAccount: string;
  /** The pod the proof was made for, when it says. */
  readonly pod?: string;
}

export interface AdsOptions {
  /** Proves the caller from the call's metadata; throws with the reason. Absent: everybody may be any node. */
  readonly authenticate?: (metadata: Metadata) => CallerIdentity | Promise<CallerIdentity>;
  /** A proxy appeared: its first resources, or undefined while there are none (push follows). */
  readonly onConnect: (node: Node) => ResourceSet | undefined;
  /** The last stream of a node ended. */
  readonly onDisconnect?: (nodeId: string) => void;
  readonly onEvent?: (nodeId: string, event: StreamEvent) => void;
  readonly log: Logger;
  readonly clock?: Clock;
}

/** Of one pod at a time: its own, and those of which it does not know yet that they are gone. */
const MOST_STREAMS = 8;

type Request = DeltaDiscoveryRequest | DiscoveryRequest;
type Response = DeltaDiscoveryResponse | DiscoveryResponse;
type Call = ServerDuplexStream<Request, Response>;

/** A state machine of either variant; the method of the call decides which, and the call carries its messages only. */
interface Machine {
  update(set: ResourceSet): void;
  request(request: Request): StreamEvent[];
  next(): Response | undefined;
  status(): ProxyStatus["types"];
}

interface Connection {
  readonly nodeId: string;
  /** `<pod>.<namespace>`: what the caller proved. */
  readonly name: string;
  readonly variant: ProxyStatus["variant"];
  readonly connectedAt: number;
  readonly machine: Machine;
  readonly call: Call;
  /** The peer does not read: wait for `drain`; what is pushed meanwhile coalesces in the machine. */
  blocked: boolean;
}

/** Serves ADS (delta and state of the world) to every proxy of the mesh. */
export class AdsServer {
  readonly #options: AdsOptions;
  readonly #clock: Clock;
  readonly #connections: Map<string, Set<Connection>> = new Map();
  readonly #streamsOf: Map<string, number> = new Map();
  /** Told of each answer, and of streams that end. */
  readonly #waiting: Set<(connection: Connection, answer: "refused" | "other" | "ended") => void> = new Set();

  constructor(options: AdsOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
  }

  /** Adds the service to a grpc-js server. */
  register(server: Server): void {
    server.addService(toGrpc(AggregatedDiscoveryService), {
      deltaAggregatedResources: (call: Call) => this.#serve(call, "delta"),
      streamAggregatedResources: (call: Call) => this.#serve(call, "sotw"),
    });
  }

  /** New resources for every stream of a node; unchanged ones are not sent. */
  push(nodeId: string, resources: ResourceSet): void {
    for (const connection of this.#connections.get(nodeId) ?? []) {
      connection.machine.update(resources);
      this.#flush(connection);
    }
  }

  status(): ProxyStatus[] {
    return [...this.#connections.values()]
      .flatMap((streams) => [...streams])
      .map((c) => ({
        nodeId: c.nodeId,
        connected: true,
        variant: c.variant,
        connectedAt: c.connectedAt,
        types: c.machine.status(),
      }));
  }

  /**
   * Call it before a change; the result, called after it, waits until each proxy has answered all that it was sent, one
   * has refused something, or `timeoutMs` are over. Who owed an answer before is not waited for.
   */
  answers(): (timeoutMs: number) => Promise<void> {
    const all = () => [...this.#connections.values()].flatMap((streams) => [...streams]);
    const late = new Set(all().filter(owes));
    const waits: Set<Connection> = new Set();
    let refused = false;
    let done = (): void => {};
    const told = (connection: Connection, answer: "refused" | "other" | "ended"): void => {
      refused ||= answer === "refused";
      if (answer === "ended" || (waits.has(connection) && !owes(connection))) waits.delete(connection);
      if (refused || waits.size === 0) done();
    };
    this.#waiting.add(told);
    return async (timeoutMs) => {
      for (const c of all()) if (!late.has(c) && !c.blocked && owes(c)) waits.add(c);
      let timer: NodeJS.Timeout | undefined;
      if (!refused && waits.size > 0)
        await new Promise<void>((resolve) => {
          done = resolve;
          timer = setTimeout(resolve, timeoutMs);
        });
      clearTimeout(timer);
      this.#waiting.delete(told);
    };
  }

  #serve(call: Call, variant: ProxyStatus["variant"]): void {
    let connection: Connection | undefined;
    const authenticated = (async () => this.#options.authenticate?.(call.metadata))();
    authenticated.catch(() => {}); // Answered with the first request.
    let queue: Promise<void> = Promise.resolve();
    let ended = false;
    const end = (): void => {
      if (ended) return;
      ended = true;
      if (connection !== undefined) this.#forget(connection);
    };
    call.on("data", (request: Request) => {
      // One at a time: what is not read yet is held back where it comes from.
      call.pause();
      queue = queue.then(async () => {
        if (ended) return;
        try {
          connection ??= this.#open(call, variant, request.node, await authenticated);
          if (ended) this.#forget(connection);
          else this.#receive(connection, request);
        } catch (error) {
          const refusal =
            error instanceof Refusal
              ? error
              : new Refusal(
                  error instanceof LimitExceeded ? Status.RESOURCE_EXHAUSTED : Status.UNAUTHENTICATED,
                  (error as Error).message,
                );
          this.#options.log.warn("ADS stream refused", { node: request.node?.id, reason: refusal.message });
          end();
          call.emit("error", { code: refusal.code, details: refusal.message });
        }
        call.resume();
      });
    });
    call.on("drain", () => {
      if (connection === undefined) return;
      connection.blocked = false;
      this.#flush(connection);
    });
    call.on("cancelled", end);
    call.on("error", end);
    call.on("close", end);
    call.on("end", () => {
      end();
      call.end();
    });
  }

  #open(
    call: Call,
    variant: ProxyStatus["variant"],
    node: Node | undefined,
    identity: CallerIdentity | undefined,
  ): Connection {
    if (node === undefined || node.id === "") {
      throw new Refusal(Status.INVALID_ARGUMENT, "the first request of a stream must carry node.id");
    }
    if (identity !== undefined) checkNode(node, identity);
    // By name: the rest of the id is what the caller likes.
    const [, , name = ""] = node.id.split("~");
    const open = this.#streamsOf.get(name) ?? 0;
    if (open >= MOST_STREAMS)
      throw new Refusal(Status.RESOURCE_EXHAUSTED, `${name} has ${open} streams already`);
    const prefix = randomBytes(6).toString("base64url");
    let count = 0;
    const nonce = (): string => `${prefix}-${++count}`;
    const machine = (variant === "delta" ? new DeltaStream(nonce) : new SotwStream(nonce)) as Machine;
    const resources = this.#options.onConnect(node);
    if (resources !== undefined) machine.update(resources);
    const connection = {
      nodeId: node.id,
      name,
      variant,
      connectedAt: this.#clock.now(),
      machine,
      call,
      blocked: false,
    };
    this.#streamsOf.set(name, open + 1);
    const streams = this.#connections.get(node.id) ?? new Set();
    streams.add(connection);
    this.#connections.set(node.id, streams);
    this.#options.log.info("proxy connected", { node: node.id, variant });
    return connection;
  }

  #receive(connection: Connection, request: Request): void {
    const events = connection.machine.request(request);
    for (const event of events) {
      this.#options.onEvent?.(connection.nodeId, event);
      if (event.kind !== "nack") continue;
      this.#options.log.warn("proxy refused config", {
        node: connection.nodeId,
        type: shortType(event.type),
        reason: event.message,
      });
    }
    this.#flush(connection);
    const refused = events.some(({ kind }) => kind === "nack");
    for (const told of this.#waiting) told(connection, refused ? "refused" : "other");
  }

  #flush(connection: Connection): void {
    while (!connection.blocked) {
      const response = connection.machine.next();
      if (response === undefined) return;
      connection.blocked = !connection.call.write(response);
    }
  }

  #forget(connection: Connection): void {
    const streams = this.#connections.get(connection.nodeId);
    if (streams?.delete(connection) !== true) return;
    this.#options.log.info("proxy disconnected", { node: connection.nodeId });
    for (const told of this.#waiting) told(connection, "ended");
    const left = this.#streamsOf.get(connection.name)! - 1;
    if (left > 0) this.#streamsOf.set(connection.name, left);
    else this.#streamsOf.delete(connection.name);
    if (streams.size > 0) return;
    this.#connections.delete(connection.nodeId);
    this.#options.onDisconnect?.(connection.nodeId);
  }
}

function owes({ machine }: Connection): boolean {
  return Object.values(machine.status()).some(
    (type) => !type.upToDate || (type.nonceSent !== type.nonceAcked && type.nack === undefined),
  );
}

class Refusal extends Error {
  readonly code: Status;
  constructor(code: Status, message: string) {
    super(message);
    this.code = code;
  }
}

/** The id decides whose configuration is given, so it must be of the caller as the metadata must. */
function checkNode(node: Node, identity: CallerIdentity): void {
  const { namespace, pod } = identity;
  const name = node.id.split("~")[2] ?? "";
  if (pod === undefined ? !name.endsWith(`.${namespace}`) : name !== `${pod}.${namespace}`)
    throw new Refusal(
      Status.PERMISSION_DENIED,
      `node ${node.id} is not of its token's ${pod === undefined ? `namespace "${namespace}"` : `pod "${pod}.${namespace}"`}`,
    );
  const claims = { NAMESPACE: identity.namespace, SERVICE_ACCOUNT: identity.serviceAccount };
  for (const [key, proven] of Object.entries(claims)) {
    const claimed = node.metadata?.[key];
    if (claimed === proven) continue;
    throw new Refusal(
      Status.PERMISSION_DENIED,
      `node ${node.id}: metadata ${key} is ${JSON.stringify(claimed ?? null)}, but its token is for "${proven}"`,
    );
  }
}
