import { persistentVolumeClaimSpec } from "../persistent-volume-claim/spec.ts";
import { bool, check, list, object, oneOf, required, str } from "../schema.ts";
import { insideOf } from "./container.ts";
import { fieldRef, resourceFieldRef } from "./env.ts";
import { also, anything, idle, label, mode, objectName, oneIn, quantity } from "./fields.ts";
import { objectMeta } from "./metadata.ts";

/** What begins with ".." is the kubelet's own. */
const relative = check(str, (path) =>
  path.startsWith("..") && !path.startsWith("../") && path !== ".."
    ? 'must not begin with ".."'
    : insideOf(path),
);
const items = list(object({ key: required(str), path: required(relative), mode }));
const downwardItem = also(
  object({ path: required(relative), fieldRef: fieldRef(true), resourceFieldRef, mode }),
  (value, path, report) => oneIn(value, ["fieldRef", "resourceFieldRef"], path, report),
);

const projection = also(
  object(
    {
      configMap: object({ name: required(str), items, optional: bool }),
      secret: object({ name: required(str), items, optional: bool }),
      downwardAPI: object({ items: list(downwardItem) }),
      serviceAccountToken: object({ audience: str, expirationSeconds: anything, path: required(relative) }),
    },
    { later: ["clusterTrustBundle", "podCertificate"] },
  ),
  (value, path, report) => oneIn(value, Object.keys(value), path, report),
);

const CARRIED_OUT = {
  configMap: object({ name: required(str), items, defaultMode: mode, optional: bool }),
  secret: object({ secretName: required(str), items, defaultMode: mode, optional: bool }),
  emptyDir: object({
    medium: idle(str, "emptyDir is a folder on disk on a local mesh", (v) => v === ""),
    sizeLimit: idle(quantity, "a local mesh does not bound the size of an emptyDir"),
  }),
  hostPath: object({
    path: required(str),
    type: oneOf(
      "",
      "DirectoryOrCreate",
      "Directory",
      "FileOrCreate",
      "File",
      "Socket",
      "CharDevice",
      "BlockDevice",
    ),
  }),
  persistentVolumeClaim: object({ claimName: required(objectName), readOnly: bool }),
  downwardAPI: object({ items: list(downwardItem), defaultMode: mode }),
  projected: object({ sources: list(projection), defaultMode: mode }),
  ephemeral: object({
    volumeClaimTemplate: required(
      object({ metadata: objectMeta, spec: required(persistentVolumeClaimSpec) }),
    ),
  }),
} as const;

/** What needs a cloud, a storage network or a driver of Kubernetes. */
const ELSEWHERE = [
  "awsElasticBlockStore",
  "azureDisk",
  "azureFile",
  "cephfs",
  "cinder",
  "csi",
  "fc",
  "flexVolume",
  "flocker",
  "gcePersistentDisk",
  "gitRepo",
  "glusterfs",
  "image",
  "iscsi",
  "nfs",
  "photonPersistentDisk",
  "portworxVolume",
  "quobyte",
  "rbd",
  "scaleIO",
  "storageos",
  "vsphereVolume",
];

export const volume = also(
  object({ name: required(label), ...CARRIED_OUT }, { later: ELSEWHERE }),
  ({ name: _, ...sources }, path, report) => {
    const set = Object.values(sources).filter((source) => source !== undefined).length;
    // Kubernetes makes an emptyDir of a volume without a source.
    if (set > 1) oneIn(sources, Object.keys(sources), path, report);
  },
);
