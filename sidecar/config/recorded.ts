/** Test support: recorded istiod responses (protojson) as the Any values that came over the wire. */
import { existsSync, readFileSync } from "node:fs";
import { fromJson, type JsonValue, type Registry } from "@bufbuild/protobuf";
import { type Any, AnySchema } from "@bufbuild/protobuf/wkt";
import { configRegistry } from "./registry.ts";

const SAMPLES = new URL("../../../shared/samples/istiod-xds/", import.meta.url);

export const recordedAbsent: string | false = existsSync(SAMPLES)
  ? false
  : "the recorded responses are not here";

export function recorded(
  sample: string,
  type: "Cluster" | "ClusterLoadAssignment" | "Listener" | "RouteConfiguration",
): Any[] {
  const list: JsonValue[] = JSON.parse(readFileSync(new URL(`${sample}/${type}.json`, SAMPLES), "utf8"));
  const registry = withStubs(list);
  return list.map((json) => fromJson(AnySchema, json, { registry, ignoreUnknownFields: true }));
}

/** Types this proxy does not know become messages without fields. */
function withStubs(json: JsonValue): Registry {
  const names = new Set<string>();
  JSON.stringify(json, (key, value) => {
    if (key === "@type" && typeof value === "string") names.add(value.slice(value.lastIndexOf("/") + 1));
    return value;
  });
  return configRegistry(names);
}
