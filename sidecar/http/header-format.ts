import { hostname } from "node:os";
import type { RequestHead } from "../http1/request-head.ts";
import type { ConnectionFacts, HeadView, HttpConfig } from "../snapshot.ts";
import { remoteAddress } from "./remote-address.ts";

/**
 * %COMMAND(argument)% in a header that the configuration adds; route/format.ts has the list. Null: nothing is known.
 * @param seen the same head as `wire`, with what the proxy has added
 */
export function lookUp(
  command: string,
  argument: string,
  wire: RequestHead,
  seen: HeadView,
  config: HttpConfig,
  facts: ConnectionFacts,
): string | null {
  switch (command) {
    case "REQ":
      return either(argument.toLowerCase(), seen);
    case "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT":
      return remoteAddress(wire, config, facts.sourceAddress);
    case "DOWNSTREAM_REMOTE_ADDRESS": {
      const client = remoteAddress(wire, config, facts.sourceAddress);
      return `${client}:${client === facts.sourceAddress ? facts.sourcePort : 0}`;
    }
    case "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT":
      return facts.destinationAddress;
    case "DOWNSTREAM_LOCAL_ADDRESS":
      return `${facts.destinationAddress}:${facts.destinationPort}`;
    case "DOWNSTREAM_LOCAL_PORT":
      return String(facts.destinationPort);
    case "DOWNSTREAM_PEER_URI_SAN":
      return facts.peerIdentities.join(",");
    case "REQUESTED_SERVER_NAME":
      return facts.serverName;
    case "PROTOCOL":
      return `HTTP/1.${wire.minor}`;
    case "HOSTNAME":
      return hostname();
    default:
      return null;
  }
}

/** `name?other`: the first that is there. */
function either(names: string, head: HeadView): string | null {
  const mark = names.indexOf("?");
  if (mark === -1) return field(names, head);
  return field(names.slice(0, mark), head) ?? field(names.slice(mark + 1), head);
}

function field(name: string, head: HeadView): string | null {
  if (name === ":path") return head.path;
  if (name === ":method") return head.method;
  if (name === ":authority" || name === "host") return head.authority;
  return head.get(name);
}
