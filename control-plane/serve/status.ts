import type { TypeStatus } from "#xds/index.ts";

/** One connected proxy, as /status shows it. */
export interface ProxyStatus {
  readonly nodeId: string;
  readonly connected: boolean;
  readonly variant: "delta" | "sotw";
  /** ms since the epoch. */
  readonly connectedAt: number;
  readonly types: Readonly<Record<string, TypeStatus>>;
}
