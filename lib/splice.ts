import type { Duplex } from "node:stream";
import { resetSocket } from "./reset-socket.ts";

type Side = Duplex & { setNoDelay?(on?: boolean): unknown };

/** Bytes pass both ways, half-closes included. What one side cut short is cut short for the other too. */
export function splice(a: Side, b: Side): void {
  for (const [side, other] of [
    [a, b],
    [b, a],
  ] as const) {
    side.setNoDelay?.(true);
    side.on("error", () => side.destroy());
    side.on("close", () => closed(side, other));
    side.pipe(other);
  }
}

// `end` has been passed on by pipe(), but the other side may still hold bytes that its peer takes slowly: only a side
// that failed may take them with it.
function closed(side: Duplex, other: Duplex): void {
  if (!side.readableEnded || !side.writableFinished) resetSocket(other);
  else if (other.writableFinished) other.destroy();
  else other.once("finish", () => other.destroy());
}
