import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { TLSSocket } from "node:tls";

/**
 * Ends a stream so that the peer cannot take what it got for the whole: RST, where there is TCP below. A TLSSocket throws
 * ERR_INVALID_HANDLE_TYPE on resetAndDestroy() (Node 24.21), so does a pipe; the TCP socket under TLS can be reset.
 */
export function resetSocket(stream: Duplex): void {
  const below =
    stream instanceof TLSSocket ? (stream as unknown as { _parent: Socket | null })._parent : stream;
  if (below instanceof Socket && !below.destroyed && below.remotePort !== undefined) below.resetAndDestroy();
  stream.destroy();
}
