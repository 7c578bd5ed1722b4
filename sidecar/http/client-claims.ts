// hot path
/** What a client may not say for itself goes before any filter sees it; what we know of it is said instead. */
import { TLSSocket } from "node:tls";
import { Field } from "../http1/header-block.ts";
import type { RequestHead } from "../http1/request-head.ts";
import type { HeadEdits } from "../http1/write-head.ts";
import type { Accepted } from "../inbound.ts";
import type { HttpConfig } from "../snapshot.ts";
import { xfccElement } from "./xfcc.ts";

const XFCC = "x-forwarded-client-cert";
const XFF = "x-forwarded-for";
const XFP = "x-forwarded-proto";
const ENVOY_PREFIX = "x-envoy-";
/** Says nothing that anybody decides by, and apps log it. */
const ATTEMPTS = "x-envoy-attempt-count";

/** Of one downstream connection: its peer does not change. */
export class ClientClaims {
  readonly #accepted: Accepted;
  readonly #inbound: boolean;
  readonly #proven: boolean;
  readonly #scheme: "http" | "https";
  /** Our x-forwarded-client-cert, and what it was made for. */
  #xfcc = "";
  #xfccBy = "";
  #xfccOf: HttpConfig | null = null;

  constructor(accepted: Accepted) {
    this.#accepted = accepted;
    this.#inbound = accepted.listener.direction === "INBOUND";
    this.#proven = accepted.facts.peerIdentities.length > 0;
    this.#scheme = accepted.stream instanceof TLSSocket ? "https" : "http";
  }

  /** @param by our own SPIFFE id, or "" */
  sanitize(request: RequestHead, edits: HeadEdits, config: HttpConfig, by: string): void {
    const mode = config.forwardClientCertDetails;
    const keepsXfcc =
      mode === "ALWAYS_FORWARD_ONLY" ||
      (this.#proven && (mode === "FORWARD_ONLY" || mode === "APPEND_FORWARD"));
    const client = keepsXfcc ? request.get(XFCC) : null;
    // What mesh proxies say to each other is nobody else's to say.
    const strange = this.#inbound || config.useRemoteAddress;
    const proxied = !config.useRemoteAddress || config.xffNumTrustedHops > 0;
    for (let i = 0; i < request.count; i++) {
      if (request.kind(i) !== Field.Other) continue;
      if (
        (!keepsXfcc && request.nameIs(i, XFCC)) ||
        (strange && request.nameBegins(i, ENVOY_PREFIX) && !request.nameIs(i, ATTEMPTS)) ||
        (!proxied && request.nameIs(i, XFP))
      )
        request.erase(i);
    }
    if (this.#proven && (mode === "SANITIZE_SET" || mode === "APPEND_FORWARD")) {
      const own = this.#ownXfcc(config, by);
      edits.set(XFCC, client === null ? own : `${client},${own}`);
    }
    if (config.useRemoteAddress) {
      const said = request.get(XFF);
      const { sourceAddress } = this.#accepted.facts;
      if (said === null) edits.add(XFF, sourceAddress);
      else edits.set(XFF, `${said},${sourceAddress}`);
    }
    if (!request.has(XFP)) edits.add(XFP, this.#scheme);
  }

  #ownXfcc(config: HttpConfig, by: string): string {
    if (this.#xfccOf === config && this.#xfccBy === by) return this.#xfcc;
    const { facts, stream } = this.#accepted;
    const certificate = stream instanceof TLSSocket ? (stream.getPeerX509Certificate() ?? null) : null;
    this.#xfcc = xfccElement(certificate, by, facts.peerIdentities, config.setCurrentClientCertDetails);
    this.#xfccBy = by;
    this.#xfccOf = config;
    return this.#xfcc;
  }
}
