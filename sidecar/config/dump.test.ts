import { createRegistry, fromJson, type JsonObject } from "@bufbuild/protobuf";
import type { Any } from "@bufbuild/protobuf/wkt";
import { describe, expect, test } from "vitest";
import { present, recorded } from "#test/harness/recorded.ts";
import { ConfigDumpSchema, SecretsConfigDumpSchema } from "#xds/gen/envoy/admin/v3/config_dump_pb.js";
import { ListenersConfigDumpSchema } from "#xds/gen/envoy/admin/v3/config_dump_shared_pb.js";
import { SecretSchema } from "#xds/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js";
import { TYPE } from "#xds/index.ts";
import { parseBootstrap } from "../bootstrap.ts";
import { ConfigArchive } from "./archive.ts";
import { configDump, type DumpQuery } from "./dump.ts";
import { configRegistry } from "./registry.ts";

const bootstrap = parseBootstrap(
  JSON.stringify({
    node: { id: "sidecar~10.0.0.1~a.b~b.svc.cluster.local", cluster: "a.b" },
    discovery: { address: "unix:/run/xds.sock", tokenFile: "/run/token" },
  }),
);
const ALL: DumpQuery = { includeEds: false, resource: null, name: null };
const KEY = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIDnp\n-----END PRIVATE KEY-----\n";
const secret = { keyPem: KEY, chainPem: "chain", rootsPem: "roots", roots: [], notBefore: 0 };
const packed = (name: string, any: Any) => ({ name, version: "v", any });
const dump = (archive: ConfigArchive, query: DumpQuery = ALL): JsonObject =>
  configDump({ bootstrap, version: "0", archive, secret, startedMs: 0 }, query);

/** A message with one bytes or string field, by hand. */
const field = (number: number, bytes: Buffer): Buffer => {
  const tag = (number << 3) | 2;
  return Buffer.concat([
    Buffer.from(tag < 128 ? [tag] : [(tag & 127) | 128, tag >> 7]),
    Buffer.from([bytes.length]),
    bytes,
  ]);
};
const unreadable = (typeUrl: string, value: Buffer): Any => ({
  $typeName: "google.protobuf.Any",
  typeUrl,
  value,
});

test("our key is a word, its certificate is not", () => {
  const text = JSON.stringify(dump(new ConfigArchive()));
  expect(text).toContain(Buffer.from("chain").toString("base64"));
  const body = KEY.split("\n")[1]!;
  for (const form of [
    body,
    Buffer.from(KEY).toString("base64").slice(0, 30),
    Buffer.from(body, "base64").toString("hex"),
  ])
    expect(text).not.toContain(form);
});

test("a refused resource shows with its reason beside the last good one; a type unknown here shows by its name", () => {
  const archive = new ConfigArchive();
  const good = unreadable(TYPE.listener, field(1, Buffer.from("l")));
  // Listener.api_listener.api_listener: an Any of a type that nobody generated.
  const inner = Buffer.concat([
    field(1, Buffer.from("type.googleapis.com/acme.Gadget")),
    field(2, Buffer.alloc(0)),
  ]);
  const bad = unreadable(
    TYPE.listener,
    Buffer.concat([field(1, Buffer.from("l")), field(19, field(1, inner))].map((b) => b)),
  );
  archive.update(TYPE.listener, [packed("l", good)], [], new Map());
  archive.update(TYPE.listener, [packed("l", bad)], [], new Map([["l", "no such filter"]]));
  const [entry, ...more] = dump(archive, { ...ALL, resource: "dynamic_listeners" })[
    "configs"
  ] as JsonObject[];
  expect(more).toEqual([]);
  expect(entry).toMatchObject({
    name: "l",
    active_state: { version_info: "v", listener: { name: "l" } },
    error_state: {
      details: "no such filter",
      failed_configuration: {
        api_listener: { api_listener: { "@type": "type.googleapis.com/acme.Gadget" } },
      },
    },
  });
  archive.update(TYPE.listener, [], ["l"], new Map());
  expect(dump(archive, { ...ALL, resource: "dynamic_listeners" })["configs"]).toEqual([]);
});

describe("configuration of an istiod", () => {
  test.each(present("productpage", "productpage-delta", "kitchen-sidecar", "kitchen-gateway"))(
    "%s reads as admin.v3.ConfigDump",
    (sample) => {
      const archive = new ConfigArchive();
      const listeners = recorded(sample, "Listener");
      archive.update(
        TYPE.listener,
        listeners.map((any, i) => packed(`l${i}`, any)),
        [],
        new Map(),
      );
      const json = dump(archive);
      const types = new Set<string>();
      JSON.stringify(json, (key, value) => {
        if (key === "@type") types.add(String(value).slice(String(value).lastIndexOf("/") + 1));
        return value;
      });
      const registry = createRegistry(
        configRegistry(types),
        ListenersConfigDumpSchema,
        SecretsConfigDumpSchema,
        SecretSchema,
      );
      const kept = (json["configs"] as JsonObject[]).filter((c) =>
        /Listeners|Secrets/.test(String(c["@type"])),
      );
      expect(fromJson(ConfigDumpSchema, { configs: kept }, { registry }).configs).toHaveLength(2);
      const named = dump(archive, {
        includeEds: false,
        resource: "dynamic_listeners",
        name: (n) => n === "l0",
      });
      expect(named["configs"]).toHaveLength(1);
    },
  );
});
