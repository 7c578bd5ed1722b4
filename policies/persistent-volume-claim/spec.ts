import { resources } from "../pod/container.ts";
import { anything, idle } from "../pod/fields.ts";
import { labelSelector } from "../pod/metadata.ts";
import { list, object, oneOf, str } from "../schema.ts";

const FOLDER = "a claim is a folder of the mesh's state directory, kept until it is purged";

export const persistentVolumeClaimSpec = object({
  accessModes: list(oneOf("ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod")),
  /** What it asks for is room; a folder has all that the disk has. */
  resources,
  /** Any class is this folder. */
  storageClassName: str,
  volumeMode: idle(oneOf("Filesystem", "Block"), `no block device: ${FOLDER}`, (v) => v === "Filesystem"),
  volumeName: idle(str, FOLDER),
  selector: idle(labelSelector, FOLDER),
  dataSource: idle(anything, `nothing is copied into it: ${FOLDER}`),
  dataSourceRef: idle(anything, `nothing is copied into it: ${FOLDER}`),
  volumeAttributesClassName: idle(str, FOLDER),
});
