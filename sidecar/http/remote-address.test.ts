import { expect, test } from "vitest";
import type { HeadView } from "../snapshot.ts";
import { remoteAddress } from "./remote-address.ts";

const PEER = "10.0.0.9";
test.for<[edge: boolean, hops: number, said: string | null, client: string]>([
  [true, 0, null, PEER],
  [true, 0, "1.1.1.1, 2.2.2.2", PEER],
  [true, 1, "1.1.1.1, 2.2.2.2", "2.2.2.2"],
  [true, 2, "1.1.1.1, 2.2.2.2", "1.1.1.1"],
  [true, 3, "1.1.1.1, 2.2.2.2", PEER],
  [true, 1, null, PEER],
  [false, 0, null, PEER],
  [false, 0, "", PEER],
  [false, 0, "1.1.1.1", "1.1.1.1"],
  [false, 0, "1.1.1.1,2001:db8::1", "2001:db8::1"],
  [false, 0, "1.1.1.1, 2.2.2.2", "2.2.2.2"],
  [false, 0, "1.1.1.1, 2.2.2.2,", PEER],
  [false, 0, "1.1.1.1, unknown", PEER],
  [false, 1, "1.1.1.1, 2.2.2.2", "1.1.1.1"],
  [false, 2, "1.1.1.1, 2.2.2.2", PEER],
  [false, 1, ",2.2.2.2", PEER],
])(
  "edge %s, %d trusted hops, X-Forwarded-For %j: %s",
  ([useRemoteAddress, xffNumTrustedHops, said, client]) => {
    const head = { get: (name: string) => (name === "x-forwarded-for" ? said : null) } as HeadView;
    expect(remoteAddress(head, { useRemoteAddress, xffNumTrustedHops }, PEER)).toBe(client);
  },
);
