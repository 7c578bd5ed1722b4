// hot path
/** Keep-alive connections to one host, last used first, so that the surplus goes idle and is closed. */
import type { Duplex } from "node:stream";
import { UpstreamConnection } from "./upstream.ts";

/** The part of net.Socket and tls.TLSSocket the codec uses. */
export type Socket = Duplex & {
  setNoDelay?(on?: boolean): unknown;
  setKeepAlive?(on: boolean, delayMs: number): unknown;
};

export interface PoolOptions {
  /** Begins to connect; `connection.onOpen` or `connection.fail` follows, in bounded time. Plain and TLS differ only here. */
  readonly connect: (connection: UpstreamConnection) => void;
  readonly maxIdle: number;
  /** Infinity = never. */
  readonly idleTimeoutMs: number;
  /** Requests that one connection carries; 0 = no limit. */
  readonly maxRequests: number;
}

const MAX_SWEEP_MS = 3_600_000;

export class HostPool {
  readonly options: PoolOptions;
  readonly idle: UpstreamConnection[] = [];
  open = 0;
  #sweeper: NodeJS.Timeout | null = null;

  constructor(options: PoolOptions) {
    this.options = options;
  }

  /** A connection for one exchange: idle (`used` true) or new. Its owner hears of readiness and of every failure. */
  take(): UpstreamConnection {
    for (let idle = this.idle.pop(); idle !== undefined; idle = this.idle.pop()) {
      if (idle.keepMs === 0 || performance.now() - idle.idleSinceMs < idle.keepMs) return idle;
      idle.destroy();
    }
    return this.takeNew();
  }

  takeNew(): UpstreamConnection {
    this.open++;
    const connection = new UpstreamConnection(this);
    this.options.connect(connection);
    return connection;
  }

  give(connection: UpstreamConnection): void {
    if (this.idle.length >= this.options.maxIdle) {
      connection.destroy();
      return;
    }
    connection.idleSinceMs = performance.now();
    this.idle.push(connection);
    if (this.#sweeper === null) {
      this.#sweeper = setInterval(
        sweep,
        Math.max(Math.min(this.options.idleTimeoutMs, MAX_SWEEP_MS) / 4, 10),
        this,
      );
      this.#sweeper.unref();
    }
  }

  /** Called once per connection when it is closed, whoever closed it. */
  forget(connection: UpstreamConnection): void {
    this.open--;
    const at = this.idle.indexOf(connection);
    if (at !== -1) this.idle.splice(at, 1);
  }

  sweepIdle(nowMs: number): void {
    while (this.idle.length > 0 && nowMs - this.idle[0]!.idleSinceMs >= this.options.idleTimeoutMs) {
      this.idle.shift()!.destroy();
    }
    if (this.idle.length === 0 && this.#sweeper !== null) {
      clearInterval(this.#sweeper);
      this.#sweeper = null;
    }
  }

  close(): void {
    while (this.idle.length > 0) this.idle.pop()!.destroy();
    this.sweepIdle(0);
  }
}

function sweep(pool: HostPool): void {
  pool.sweepIdle(performance.now());
}
