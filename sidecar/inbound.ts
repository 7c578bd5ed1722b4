import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { TLSSocket } from "node:tls";
import { originalDestination, plainAddress } from "#lib/original-dst.ts";
import { connectionRefusal } from "./filters/network.ts";
import { type Detected, detect } from "./listen/detect.ts";
import type { ConnectionFacts, DownstreamTls, FilterChain, Listener, Snapshot } from "./snapshot.ts";
import { http1Only } from "./tls/alpn.ts";
import { acceptTls } from "./tls/downstream.ts";
import type { TlsSecret } from "./tls/secrets.ts";

/** A connection whose chain is chosen and whose peer, where mTLS applies, is proven. */
export interface Accepted {
  readonly stream: Duplex;
  readonly facts: ConnectionFacts;
  readonly listener: Listener;
  readonly chain: FilterChain;
  /** ALPN chosen in the handshake, or "". */
  readonly alpn: string;
}

export interface AcceptContext {
  /** Read at accept: a connection begins with the newest snapshot. */
  snapshot(): Snapshot | null;
  secret(): TlsSecret | null;
  readonly trustDomain: string;
  /** Envoy's words for the counter: "filter_chain_not_found", "rbac_denied", a TLS reason ... */
  refused(listener: string, reason: string, detail: string): void;
  /** A network filter closes the connection, for the reason in Envoy's words; told besides `refused`. */
  denied(accepted: Accepted, termination: string): void;
  /** The client said nothing, or too little, for so long that the connection is served without knowing what it speaks. */
  undetected(listener: Listener, facts: ConnectionFacts): void;
  /** No filter chain takes the connection; told besides `refused`. */
  unmatched(listener: Listener, facts: ConnectionFacts): void;
}

const HANDSHAKE_TIMEOUT_MS = 10_000;

/** From accept to a chosen, authenticated and permitted chain, outermost first. Inbound and outbound are alike here. */
export function acceptConnection(
  socket: Socket,
  listenerName: string,
  context: AcceptContext,
  onAccepted: (accepted: Accepted) => void,
): void {
  const refuse = (reason: string, detail = ""): void => {
    socket.destroy();
    context.refused(listenerName, reason, detail);
  };
  const snapshot = context.snapshot();
  const bound = snapshot?.listeners.get(listenerName);
  if (snapshot == null || bound === undefined) {
    refuse("no_listener");
    return;
  }
  const local = { address: plainAddress(socket.localAddress ?? ""), port: socket.localPort ?? 0 };
  const destination = bound.restoresOriginalDst ? originalDestination(socket) : local;
  // Redirected connections belong to the listener of the address they meant, if there is one.
  const listener =
    (bound.useOriginalDst ? snapshot.findByOriginalDst(destination.address, destination.port) : null) ??
    bound;

  const onDetected = (detected: Detected): void => {
    if (detected.timedOut && !listener.continueOnListenerFiltersTimeout) {
      refuse("listener_filters_timeout");
      return;
    }
    const facts: ConnectionFacts = {
      destinationAddress: destination.address,
      destinationPort: destination.port,
      sourceAddress: plainAddress(socket.remoteAddress ?? ""),
      sourcePort: socket.remotePort ?? 0,
      transportProtocol: detected.transport,
      applicationProtocols: detected.applicationProtocols,
      serverName: detected.serverName,
      peerIdentities: [],
    };
    if (detected.timedOut) context.undetected(listener, facts);
    const chain = listener.findFilterChain(facts);
    if (chain === null) {
      refuse("filter_chain_not_found");
      context.unmatched(listener, facts);
      return;
    }
    if (chain.tls === null) {
      permit({ stream: socket, facts, listener, chain, alpn: "" });
      return;
    }
    acceptTls(
      socket,
      context.secret(),
      detected.applicationProtocols,
      tlsOptions(chain.tls, chain, context.trustDomain),
      (secured: TLSSocket, spiffeId) => {
        const proven = { ...facts, peerIdentities: spiffeId === "" ? [] : [spiffeId] };
        permit({ stream: secured, facts: proven, listener, chain, alpn: secured.alpnProtocol || "" });
      },
      (failure) => refuse(failure.reason, failure.message),
    );
  };
  const permit = (accepted: Accepted): void => {
    const termination = connectionRefusal(accepted.chain, accepted.facts);
    if (termination !== null) {
      accepted.stream.destroy();
      refuse("rbac_denied", termination);
      context.denied(accepted, termination);
      return;
    }
    onAccepted(accepted);
  };
  const inspects = (filter: Listener["tlsInspector"]): boolean =>
    filter !== null && !filter.disabledFor(destination.port);
  detect(
    socket,
    {
      tls: inspects(listener.tlsInspector),
      http: inspects(listener.httpInspector),
      timeoutMs: listener.listenerFiltersTimeoutMs,
    },
    onDetected,
    () => context.refused(listenerName, "closed_before_detection", ""),
  );
}

function tlsOptions(tls: DownstreamTls, chain: FilterChain, trustDomain: string) {
  return {
    minVersion: tls.minVersion,
    maxVersion: tls.maxVersion,
    cipherSuites: tls.cipherSuites,
    requireClientCertificate: tls.requireClientCertificate,
    alpnProtocols: chain.terminal.kind === "http" ? http1Only(tls.alpnProtocols) : tls.alpnProtocols,
    handshakeTimeoutMs: chain.transportSocketConnectTimeoutMs || HANDSHAKE_TIMEOUT_MS,
    identity: {
      trustDomains: trustDomainsOf(tls, trustDomain),
      names: tls.validation.subjectAltNames,
    },
  };
}

/** Ours, and the aliases that istiod writes as `spiffe://<alias>/` prefixes. */
export function trustDomainsOf(tls: Pick<DownstreamTls, "validation">, own: string): string[] {
  const domains = new Set([own]);
  for (const name of tls.validation.subjectAltNames) {
    const match = /^spiffe:\/\/([^/]+)\//.exec(name.text);
    if (match !== null && name.kind === "prefix") domains.add(match[1]!);
  }
  return [...domains];
}
