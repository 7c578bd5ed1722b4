// hot path
/** Connections by host and by what decides how they are secured; a host that is gone takes its pools along. */
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { chooseTransport } from "../cluster/balancer.ts";
import { newHost } from "../cluster/hosts.ts";
import { Verdict } from "../http1/errors.ts";
import { HostPool } from "../http1/pool.ts";
import { READ_BY_CALLBACK } from "../http1/read-buffer.ts";
import type { UpstreamConnection } from "../http1/upstream.ts";
import { connectUpstream } from "../outbound.ts";
import type { Cluster, Host, Snapshot } from "../snapshot.ts";
import type { TlsSecret } from "../tls/secrets.ts";

const MAX_IDLE = 256;
const MAX_ORIGINAL_HOSTS = 1024;

/** What a new connection is made with. */
export interface ConnectContext {
  snapshot(): Snapshot | null;
  secret(): TlsSecret | null;
  readonly trustDomain: string;
}

/** A pool under its key, and under the objects that the key was made of: those a request compares first. */
class Entry {
  readonly key: string;
  readonly pool: HostPool;
  cluster: Cluster;
  alpn: readonly string[] | null;
  metadata: Host["transportSocketMetadata"];

  constructor(key: string, pool: HostPool, cluster: Cluster, host: Host, alpn: readonly string[] | null) {
    this.key = key;
    this.pool = pool;
    this.cluster = cluster;
    this.alpn = alpn;
    this.metadata = host.transportSocketMetadata;
  }
}

export class Pools {
  readonly #byHost = new WeakMap<Host, Entry[]>(); // cold: once per process
  readonly #original = new Map<string, Host>(); // cold: once per process

  get(cluster: Cluster, host: Host, alpn: readonly string[] | null, context: ConnectContext): HostPool {
    let entries = this.#byHost.get(host);
    if (entries === undefined) {
      entries = [];
      this.#byHost.set(host, entries);
    }
    for (let i = 0; i < entries.length; i++) {
      const entry = entries[i]!;
      if (entry.cluster === cluster && entry.alpn === alpn && entry.metadata === host.transportSocketMetadata)
        return entry.pool;
    }
    return find(entries, cluster, host, alpn, context);
  }

  /** The host that an ORIGINAL_DST cluster makes of a destination. */
  originalHost(address: string, port: number): Host {
    const key = `${address}|${port}`;
    const known = this.#original.get(key);
    if (known !== undefined) return known;
    if (this.#original.size >= MAX_ORIGINAL_HOSTS)
      for (const oldest of this.#original.keys()) {
        this.#original.delete(oldest);
        break;
      }
    const host = newHost({ address, port, pipe: null });
    this.#original.set(key, host);
    return host;
  }
}

/** After a push the objects are new; the pool stays if they say the same. */
function find(
  entries: Entry[],
  cluster: Cluster,
  host: Host,
  alpn: readonly string[] | null,
  context: ConnectContext,
): HostPool {
  const key = `${cluster.name}|${cluster.hash}|${chooseTransport(cluster, host).name}|${alpn?.join() ?? ""}`;
  for (let i = 0; i < entries.length; i++) {
    const entry = entries[i]!;
    if (entry.key !== key) continue;
    entry.cluster = cluster;
    entry.alpn = alpn;
    entry.metadata = host.transportSocketMetadata;
    return entry.pool;
  }
  const pool = new HostPool({
    connect: (connection) => connect(connection, cluster, host, alpn, context), // cold: once per pool
    maxIdle: MAX_IDLE,
    idleTimeoutMs: cluster.idleTimeoutMs > 0 ? cluster.idleTimeoutMs : Number.POSITIVE_INFINITY,
    maxRequests: cluster.maxRequestsPerConnection,
  });
  entries.push(new Entry(key, pool, cluster, host, alpn));
  return pool;
}

/** A name that a request brings may lead to this proxy: it would call itself, and so on without end. */
function isOwnListener(stream: Socket, snapshot: Snapshot | null): boolean {
  if (snapshot === null) return false;
  for (const { address, port } of snapshot.bound)
    if (stream.remotePort === port && stream.remoteAddress === address) return true;
  return false;
}

function onOpened(
  connection: UpstreamConnection,
  cluster: Cluster,
  stream: Duplex,
  context: ConnectContext,
): void {
  if (cluster.type !== "DYNAMIC_FORWARD_PROXY" || !isOwnListener(stream as Socket, context.snapshot()))
    connection.onOpen(stream);
  else {
    stream.destroy();
    connection.fail(Verdict.ConnectFailure);
  }
}

function connect(
  connection: UpstreamConnection,
  cluster: Cluster,
  host: Host,
  alpn: readonly string[] | null,
  context: ConnectContext,
): void {
  const failed = (): void => connection.fail(Verdict.ConnectFailure); // cold: once per connection
  const opened = (stream: Duplex): void => onOpened(connection, cluster, stream, context); // cold: once per connection
  const options = {
    secret: context.secret(),
    trustDomain: context.trustDomain,
    alpnProtocols: alpn,
    http1: true,
    onread: READ_BY_CALLBACK,
  };
  connectUpstream(cluster, host, options, opened, failed);
}
