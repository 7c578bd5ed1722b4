import { chainOfNow } from "../filters/network.ts";
import type { Accepted } from "../inbound.ts";
import type { Snapshot } from "../snapshot.ts";
import type { TcpSession } from "./terminal.ts";

interface OfListener {
  /** Of the listener as these connections were last judged by. */
  hash: string;
  readonly sessions: Map<TcpSession, Accepted>;
}

/**
 * The TCP connections that are open, judged again when their listener changes: there is no next request at which a
 * policy that came later could bite. A change that does not concern them does not touch them.
 */
export class TcpConnections {
  readonly #byListener = new Map<string, OfListener>();

  add(accepted: Accepted, session: TcpSession): void {
    const { name, hash } = accepted.listener;
    let group = this.#byListener.get(name);
    if (group === undefined) {
      group = { hash, sessions: new Map() };
      this.#byListener.set(name, group);
    }
    // Accepted by the listener of before: the next look must not pass it over.
    if (group.hash !== hash) group.hash = "";
    group.sessions.set(session, accepted);
    accepted.stream.once("close", () => {
      group.sessions.delete(session);
      if (group.sessions.size === 0) this.#byListener.delete(name);
    });
  }

  /** Ends what would not be accepted any more. */
  review(snapshot: Snapshot): void {
    for (const [name, group] of this.#byListener) {
      const listener = snapshot.listeners.get(name);
      if (listener?.hash === group.hash) continue;
      group.hash = listener?.hash ?? "";
      for (const [session, accepted] of group.sessions) {
        // Outward nothing is guarded: a Service that goes takes its listener along, not the connections to its pods.
        if (listener === undefined && accepted.listener.direction === "OUTBOUND") continue;
        const chain = chainOfNow(listener, accepted);
        if ("refusal" in chain) session.end(chain.refusal);
        else if (chain.terminal.kind !== "tcp") session.end("filter_chain_not_found");
      }
    }
  }
}
