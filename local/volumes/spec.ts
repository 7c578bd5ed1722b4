import { dirname, resolve } from "node:path";
import { type DataKind, type Downward, readDownward } from "../container-spec.ts";
import { type Json, list, type PlatformObject, record } from "../object.ts";

/** One file of a volume; `mode` 0 = the volume's. */
export interface Item {
  readonly key: string;
  readonly path: string;
  readonly mode: number;
}
export type Source =
  | {
      readonly kind: "data";
      readonly data: DataKind;
      readonly name: string;
      /** Undefined: all keys. */
      readonly items: readonly Item[] | undefined;
      readonly optional: boolean;
    }
  | {
      readonly kind: "downward";
      readonly items: readonly (Omit<Item, "key"> & { readonly from: Downward })[];
    }
  | { readonly kind: "token"; readonly path: string };

export type VolumeSpec = { readonly name: string } & (
  | { readonly kind: "files"; readonly sources: readonly Source[]; readonly mode: number }
  | { readonly kind: "empty" }
  /** `below`: the only folder in which the path may be. */
  | { readonly kind: "host"; readonly path: string; readonly type: string; readonly below: string }
  /** `perPod`: of a StatefulSet's volumeClaimTemplates. */
  | { readonly kind: "claim"; readonly claim: string; readonly perPod: boolean }
);

const MODE = 0o644;
/** Kubernetes has 0644 here, too; but there a container has its own users. */
const SECRET_MODE = 0o600;

/** Volumes that Kubernetes has and a local mesh has not are refused before. */
export function readVolume(object: PlatformObject, volume: Json): VolumeSpec {
  const name = String(volume["name"]);
  const folder = dirname(resolve(object.source?.file ?? "x"));
  const raw = (field: string): Json => record(volume[field]);
  const mode = (field: string, fallback: number): number => Number(raw(field)["defaultMode"] ?? fallback);
  if (volume["configMap"] !== undefined)
    return {
      name,
      kind: "files",
      sources: [dataSource("ConfigMap", raw("configMap"))],
      mode: mode("configMap", MODE),
    };
  if (volume["secret"] !== undefined)
    return {
      name,
      kind: "files",
      sources: [dataSource("Secret", raw("secret"))],
      mode: mode("secret", SECRET_MODE),
    };
  if (volume["downwardAPI"] !== undefined)
    return {
      name,
      kind: "files",
      sources: [downwardSource(raw("downwardAPI"))],
      mode: mode("downwardAPI", MODE),
    };
  if (volume["projected"] !== undefined) {
    const parts = list(raw("projected")["sources"]);
    const secret = parts.some(
      (part) => part["secret"] !== undefined || part["serviceAccountToken"] !== undefined,
    );
    const sources = parts.map(projectedSource);
    return { name, kind: "files", sources, mode: mode("projected", secret ? SECRET_MODE : MODE) };
  }
  if (volume["hostPath"] !== undefined) {
    const { path, type } = raw("hostPath");
    return {
      name,
      kind: "host",
      path: resolve(folder, String(path)),
      type: String(type ?? ""),
      below: folder,
    };
  }
  if (volume["persistentVolumeClaim"] !== undefined)
    return { name, kind: "claim", claim: String(raw("persistentVolumeClaim")["claimName"]), perPod: false };
  return { name, kind: "empty" };
}

function projectedSource(part: Json): Source {
  if (part["configMap"] !== undefined) return dataSource("ConfigMap", record(part["configMap"]));
  if (part["secret"] !== undefined) return dataSource("Secret", record(part["secret"]));
  if (part["downwardAPI"] !== undefined) return downwardSource(record(part["downwardAPI"]));
  return { kind: "token", path: String(record(part["serviceAccountToken"])["path"] ?? "token") };
}

function dataSource(data: DataKind, raw: Json): Source {
  return {
    kind: "data",
    data,
    name: String(raw["secretName"] ?? raw["name"]),
    items: raw["items"] === undefined ? undefined : list(raw["items"]).map(item),
    optional: raw["optional"] === true,
  };
}

function item(raw: Json): Item {
  return { key: String(raw["key"]), path: String(raw["path"]), mode: Number(raw["mode"] ?? 0) };
}

function downwardSource(raw: Json): Source {
  return {
    kind: "downward",
    items: list(raw["items"]).flatMap((one) => {
      const from = readDownward(one, "");
      return from === undefined ? [] : [{ path: String(one["path"]), mode: Number(one["mode"] ?? 0), from }];
    }),
  };
}
