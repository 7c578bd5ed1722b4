/**
 * Envoy's ADS streams, passed on to the control plane as they are, with the token of the moment: what a bootstrap holds
 * stays what it was when Envoy started, and a token lives an hour. pilot-agent relays for the same reason.
 */
import { readFileSync } from "node:fs";
import { Client, Metadata, type Server, type ServerDuplexStream, type ServiceError } from "@grpc/grpc-js";
import type { Logger } from "#lib/log.ts";
import { AggregatedDiscoveryService } from "#xds/gen/envoy/service/discovery/v3/ads_pb.js";
import { toGrpc } from "#xds/grpc.ts";
import type { Bootstrap } from "../bootstrap.ts";
import { channelTo } from "../control-plane/channel.ts";

type Call = ServerDuplexStream<Buffer, Buffer>;

/** A control plane that hangs (SIGSTOP, a lost link) is given up, as by our own sidecar. */
const KEEPALIVE = { "grpc.keepalive_time_ms": 30_000, "grpc.keepalive_timeout_ms": 10_000 };
const asItIs = (bytes: Buffer): Buffer => bytes;

/** Both variants of ADS, bytes untouched. */
export function addXdsRelay(server: Server, discovery: Bootstrap["discovery"], log: Logger): void {
  const methods = Object.entries(toGrpc(AggregatedDiscoveryService)).map(([name, method]) => [
    name,
    { ...method, requestDeserialize: asItIs, responseSerialize: asItIs },
  ]);
  const service = Object.fromEntries(methods) as ReturnType<typeof toGrpc>;
  const handlers = Object.entries(service).map(([name, { path }]) => [
    name,
    (call: Call) => relay(call, path, discovery, log),
  ]);
  server.addService(service, Object.fromEntries(handlers));
}

function relay(call: Call, path: string, discovery: Bootstrap["discovery"], log: Logger): void {
  // A client for each stream: a shared channel would add its own back-off to Envoy's.
  const { target, credentials } = channelTo(discovery);
  const client = new Client(target, credentials, KEEPALIVE);
  let over = false;
  const end = (problem?: ServiceError | Error): void => {
    if (over) return;
    over = true;
    if (problem !== undefined) {
      log.warn("the control plane's stream ended", { error: problem.message });
      const { code = 14, details = problem.message } = problem as Partial<ServiceError>;
      call.emit("error", { code, details });
    } else call.end();
    upstream?.cancel();
    client.close();
  };
  const metadata = new Metadata();
  let upstream: ReturnType<typeof open> | null = null;
  const open = () => client.makeBidiStreamRequest<Buffer, Buffer>(path, asItIs, asItIs, metadata);
  try {
    if (discovery.tokenFile !== null)
      metadata.set("authorization", `Bearer ${readFileSync(discovery.tokenFile, "utf8").trim()}`);
    upstream = open();
  } catch (problem) {
    end(problem as Error);
    return;
  }
  upstream.on("data", (bytes: Buffer) => {
    if (!call.write(bytes)) upstream?.pause();
  });
  upstream.on("error", end);
  upstream.on("end", () => end());
  call.on("data", (bytes: Buffer) => void upstream?.write(bytes));
  call.on("drain", () => upstream?.resume());
  call.on("end", () => end());
  call.on("error", () => end());
  call.on("cancelled", () => end());
}
