import type { Socket } from "node:net";
import type { Logger } from "#lib/log.ts";
import { type AcceptContext, type Accepted, acceptConnection } from "./inbound.ts";
import { Listeners } from "./listen/listener.ts";
import type { HttpConfig, Snapshot, TcpConfig } from "./snapshot.ts";

/** What ends a connection's chain; made by main.ts from http1/ and tcp/. */
export interface Terminals {
  http(accepted: Accepted, config: HttpConfig): void;
  tcp(accepted: Accepted, config: TcpConfig): void;
  /** Connection: close on the next response of every HTTP connection. */
  drainHttp(): void;
}

const BIND_RETRY_MS = 1000;

/** The data plane of one process: published snapshots in, connections served. */
export class DataPlane {
  readonly listeners: Listeners;
  readonly #terminals: Terminals;
  readonly #context: AcceptContext;
  #snapshot: Snapshot | null = null;
  #draining = false;
  #retry: NodeJS.Timeout | undefined;

  constructor(context: Omit<AcceptContext, "snapshot">, terminals: Terminals, log: Logger) {
    this.#terminals = terminals;
    this.#context = {
      trustDomain: context.trustDomain,
      secret: () => context.secret(),
      refused: (listener, reason, detail) => context.refused(listener, reason, detail),
      denied: (accepted, termination) => context.denied(accepted, termination),
      undetected: (listener, facts) => context.undetected(listener, facts),
      unmatched: (listener, facts) => context.unmatched(listener, facts),
      snapshot: () => this.#snapshot,
    };
    this.listeners = new Listeners((socket, name) => this.#accept(socket, name), log);
  }

  get snapshot(): Snapshot | null {
    return this.#snapshot;
  }
  get draining(): boolean {
    return this.#draining;
  }

  /** An address at which this workload is to be reached could not be bound: it is not ready. */
  get unreachable(): boolean {
    for (const name of this.listeners.unbound)
      if (this.#snapshot?.listeners.get(name)?.direction === "INBOUND") return true;
    return false;
  }

  /**
   * One assignment, then the listening sockets follow. Resolves with the addresses that could not be bound; they are
   * tried again until they can, as whoever has them may go.
   */
  async publish(snapshot: Snapshot): Promise<string[]> {
    this.#snapshot = snapshot;
    clearTimeout(this.#retry);
    if (this.#draining) return [];
    const problems = await this.listeners.apply(
      snapshot.bound
        .filter((listener) => listener.pipe === null)
        .map((listener) => ({ name: listener.name, host: listener.address, port: listener.port })),
    );
    if (problems.length > 0 && this.#snapshot === snapshot)
      this.#retry = setTimeout(() => void this.publish(snapshot), BIND_RETRY_MS).unref();
    return problems;
  }

  #accept(socket: Socket, name: string): void {
    acceptConnection(socket, name, this.#context, (accepted) => {
      const terminal = accepted.chain.terminal;
      if (terminal.kind === "http") this.#terminals.http(accepted, terminal);
      else this.#terminals.tcp(accepted, terminal);
    });
  }

  /** Stops accepting, lets what is in flight end, cuts the rest at the deadline. */
  async drain(deadlineMs: number): Promise<void> {
    this.#draining = true;
    clearTimeout(this.#retry);
    this.listeners.stopAccepting();
    this.#terminals.drainHttp();
    await this.listeners.whenEmpty(deadlineMs);
    this.listeners.destroyConnections();
  }
}
