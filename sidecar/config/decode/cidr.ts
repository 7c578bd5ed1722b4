import { BlockList, isIP } from "node:net";
import type { CidrRange as Wire } from "#xds/gen/envoy/config/core/v3/address_pb.js";
import type { CidrRange } from "../../snapshot.ts";
import type { Problems } from "./problems.ts";

/** IPv4-mapped IPv6 addresses are taken as IPv4. */
export function decodeCidr(wire: Wire, problems: Problems): CidrRange {
  const family = isIP(wire.addressPrefix);
  const length = wire.prefixLen ?? 0;
  if (family === 0 || length > (family === 4 ? 32 : 128)) {
    problems.error(`${wire.addressPrefix}/${length} is not an address range`);
    return { prefix: wire.addressPrefix, length, contains: () => false };
  }
  const list = new BlockList();
  list.addSubnet(wire.addressPrefix, length, family === 4 ? "ipv4" : "ipv6");
  return {
    prefix: wire.addressPrefix,
    length,
    contains: (address) => {
      // An IPv4 client of a dual-stack socket shows as ::ffff:a.b.c.d.
      const plain = address.startsWith("::ffff:") && address.includes(".") ? address.slice(7) : address;
      const kind = isIP(plain);
      return kind === family && list.check(plain, kind === 4 ? "ipv4" : "ipv6");
    },
  };
}
