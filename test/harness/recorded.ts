/** xDS responses as the Any values that came over the wire: our own small ones, and those recorded from an istiod. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fromJson, type JsonValue, type Registry } from "@bufbuild/protobuf";
import { type Any, AnySchema } from "@bufbuild/protobuf/wkt";
import { parse } from "yaml";
import { configRegistry } from "#sidecar/config/registry.ts";

const OWN = join(import.meta.dirname, "../../sidecar/testdata");
const ISTIOD = join(import.meta.dirname, "../../../shared/samples/istiod-xds");

type Kind = "Cluster" | "ClusterLoadAssignment" | "Listener" | "RouteConfiguration";

/** The names that exist here: what is not recorded is left out. */
export function present(...samples: readonly string[]): string[] {
  return samples.filter((sample) => existsSync(ownFile(sample)) || existsSync(join(ISTIOD, sample)));
}

/** `sample`: a file in sidecar/testdata, else a folder of recordings. */
export function recorded(sample: string, kind: Kind): Any[] {
  const list: JsonValue[] = existsSync(ownFile(sample))
    ? parse(readFileSync(ownFile(sample), "utf8"))[kind]
    : JSON.parse(readFileSync(join(ISTIOD, sample, `${kind}.json`), "utf8"));
  const registry = withStubs(list);
  return list.map((json) => fromJson(AnySchema, json, { registry, ignoreUnknownFields: true }));
}

const ownFile = (sample: string): string => join(OWN, `${sample}.yaml`);

/** Types this proxy does not know become messages without fields. */
function withStubs(json: JsonValue): Registry {
  const names = new Set<string>();
  JSON.stringify(json, (key, value) => {
    if (key === "@type" && typeof value === "string") names.add(value.slice(value.lastIndexOf("/") + 1));
    return value;
  });
  return configRegistry(names);
}
