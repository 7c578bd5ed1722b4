import { readFileSync } from "node:fs";
import {
  type ChannelCredentials,
  Client,
  type ClientDuplexStream,
  credentials,
  Metadata,
  type ServiceDefinition,
} from "@grpc/grpc-js";
import { Backoff } from "#lib/backoff.ts";
import { type Clock, systemClock } from "#lib/clock.ts";
import { AggregatedDiscoveryService } from "../gen/envoy/service/discovery/v3/ads_pb.js";
import type {
  DeltaDiscoveryRequest,
  DeltaDiscoveryResponse,
  DiscoveryRequest,
  DiscoveryResponse,
} from "../gen/envoy/service/discovery/v3/discovery_pb.js";
import { toGrpc } from "../grpc.ts";
import { DeltaClientState, type SotwClientState } from "./state.ts";

export interface ConnectionOptions {
  /** `unix:/path`, `host:port` (plaintext) or `tls://host:port`. */
  readonly address: string;
  readonly state: DeltaClientState | SotwClientState;
  /** Read anew on every connect: projected tokens rotate. */
  readonly tokenFile?: string;
  /** PEM of the roots for `tls://`; read anew on every connect. */
  readonly rootCertFile?: string;
  readonly onStatus?: (status: { connected: boolean; error?: string }) => void;
  readonly clock?: Clock;
  readonly backoff?: Backoff;
}

type Request = DeltaDiscoveryRequest | DiscoveryRequest;
type Response = DeltaDiscoveryResponse | DiscoveryResponse;

const SERVICE: ServiceDefinition = toGrpc(AggregatedDiscoveryService);
const KEEPALIVE = { "grpc.keepalive_time_ms": 30_000, "grpc.keepalive_timeout_ms": 10_000 };

/** Keeps one ADS stream open for ever: reconnects with jittered back-off, resuming with the versions already known. */
export class XdsConnection {
  readonly #options: ConnectionOptions;
  readonly #clock: Clock;
  readonly #backoff: Backoff;
  #client: Client | undefined;
  #stream: ClientDuplexStream<Request, Response> | undefined;
  #cancelRetry: (() => void) | undefined;
  #closed = false;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#backoff = options.backoff ?? new Backoff(500, 30_000);
  }

  /** Opens the stream; errors show in `onStatus` and are retried. */
  start(): void {
    if (this.#closed) return;
    const { state, address } = this.#options;
    try {
      const tls = address.startsWith("tls://");
      const metadata = this.#metadata();
      this.#client = new Client(
        tls ? address.slice("tls://".length) : address,
        this.#credentials(tls),
        KEEPALIVE,
      );
      const method =
        SERVICE[state instanceof DeltaClientState ? "deltaAggregatedResources" : "streamAggregatedResources"];
      if (method === undefined)
        throw new Error("the generated ADS service lacks its methods: run npm run gen");
      const stream = this.#client.makeBidiStreamRequest<Request, Response>(
        method.path,
        method.requestSerialize,
        method.responseDeserialize as (bytes: Buffer) => Response,
        metadata,
      );
      this.#stream = stream;
      stream.on("data", (response: Response) => this.#receive(stream, response));
      stream.on("error", (error) => this.#lost(stream, error.message));
      stream.on("end", () => this.#lost(stream, "the control plane ended the stream"));
      for (const request of state.connect()) stream.write(request);
    } catch (error) {
      this.#lost(this.#stream, (error as Error).message);
    }
  }

  /** Sends requests a `subscribe` of the state returned. */
  send(requests: readonly Request[]): void {
    for (const request of requests) this.#stream?.write(request);
  }

  close(): void {
    this.#closed = true;
    this.#cancelRetry?.();
    this.#drop();
  }

  #receive(stream: ClientDuplexStream<Request, Response>, response: Response): void {
    if (stream !== this.#stream) return;
    this.#backoff.reset();
    this.#options.onStatus?.({ connected: true });
    // The state and its stream speak the same variant: the method was chosen by the state's class.
    const state = this.#options.state as { receive(response: Response): Request[] };
    for (const request of state.receive(response)) stream.write(request);
  }

  #lost(stream: ClientDuplexStream<Request, Response> | undefined, error: string): void {
    if (stream !== this.#stream || this.#closed) return;
    this.#drop();
    this.#options.onStatus?.({ connected: false, error });
    this.#cancelRetry = this.#clock.after(this.#backoff.next(), () => this.start());
  }

  #drop(): void {
    const stream = this.#stream;
    this.#stream = undefined;
    this.#options.state.disconnect();
    stream?.cancel();
    this.#client?.close();
    this.#client = undefined;
  }

  #credentials(tls: boolean): ChannelCredentials {
    const { rootCertFile } = this.#options;
    if (!tls) return credentials.createInsecure();
    return credentials.createSsl(rootCertFile === undefined ? null : readFileSync(rootCertFile));
  }

  #metadata(): Metadata {
    const metadata = new Metadata();
    const { tokenFile } = this.#options;
    if (tokenFile !== undefined)
      metadata.set("authorization", `Bearer ${readFileSync(tokenFile, "utf8").trim()}`);
    return metadata;
  }
}
