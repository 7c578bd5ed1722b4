import { createHash } from "node:crypto";
import { existsSync, mkdirSync, realpathSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PlatformError, type PlatformObject } from "../object.ts";
import { isBelow } from "./below.ts";
import { dataOf, downward, MissingError, type PodFields } from "./data.ts";
import { showFiles, type VolumeFile } from "./files.ts";
import type { Source, VolumeSpec } from "./spec.ts";

export interface VolumesContext {
  /** Of this pod's volumes; goes with the pod. */
  readonly dir: string;
  /** Of all claims; stays until it is purged. */
  readonly claimsDir: string;
  readonly pod: PodFields;
  readonly objects: () => readonly PlatformObject[];
  readonly token: () => string;
}

/** The volumes of one pod as folders of this machine. */
export class Volumes {
  readonly #specs: readonly VolumeSpec[];
  readonly #context: VolumesContext;
  readonly #paths = new Map<string, string>();

  constructor(specs: readonly VolumeSpec[], context: VolumesContext) {
    this.#specs = specs;
    this.#context = context;
  }

  /** Makes what is not there yet and shows what changed. Throws MissingError when something is awaited. */
  prepare(): void {
    for (const spec of this.#specs) this.#paths.set(spec.name, this.#prepare(spec));
  }

  /** Live update: what cannot be shown now keeps what it has, as with a kubelet. */
  refresh(): void {
    for (const spec of this.#specs)
      if (spec.kind === "files" && this.#paths.has(spec.name)) {
        try {
          this.#prepare(spec);
        } catch (error) {
          if (!(error instanceof MissingError)) throw error;
        }
      }
  }

  /** The folder, or the file, that a mount shows. Throws PlatformError. */
  source(volume: string, subPath: string): string {
    const root = this.#paths.get(volume);
    if (root === undefined) throw new PlatformError(`the pod has no volume "${volume}"`);
    if (subPath === "") return root;
    const path = join(root, subPath);
    const spec = this.#specs.find((s) => s.name === volume);
    // Before anything is made: a link in the volume may lead to where nothing is yet.
    if (!isBelow(path, root)) throw new PlatformError(`subPath "${subPath}" leads out of volume "${volume}"`);
    // A kubelet makes a missing subPath a folder.
    if (!existsSync(path)) {
      if (spec?.kind === "files") throw new MissingError(`volume "${volume}" has no "${subPath}"`);
      mkdirSync(path, { recursive: true, mode: 0o755 });
    }
    return realpathSync(path);
  }

  /** What lives only as long as the pod. */
  remove(): void {
    rmSync(this.#context.dir, { recursive: true, force: true });
  }

  #prepare(spec: VolumeSpec): string {
    const { dir, claimsDir, pod } = this.#context;
    const own = join(dir, spec.name);
    switch (spec.kind) {
      case "files": {
        const files = new Map(spec.sources.flatMap((source) => this.#files(source, spec.mode)));
        showFiles(own, files, stampOf(files));
        return own;
      }
      case "empty":
        mkdirSync(own, { recursive: true, mode: 0o777 });
        return own;
      case "host":
        if (!isBelow(spec.path, spec.below))
          throw new PlatformError(`hostPath ${spec.path} is not below ${spec.below}`);
        return hostPath(spec.path, spec.type);
      case "claim": {
        const claim = spec.perPod ? `${spec.claim}-${pod.name}` : spec.claim;
        const path = join(claimsDir, pod.namespace, claim);
        mkdirSync(path, { recursive: true, mode: 0o700 });
        return path;
      }
    }
  }

  #files(source: Source, mode: number): [string, VolumeFile][] {
    const { pod, objects, token } = this.#context;
    switch (source.kind) {
      case "token":
        return [[source.path, { content: Buffer.from(token()), mode: 0o600 }]];
      case "downward":
        return source.items.map(({ path, from, mode: own }) => [
          path,
          { content: Buffer.from(downward(from, pod)), mode: own || mode },
        ]);
      case "data": {
        const what = `${source.data} ${pod.namespace}/${source.name}`;
        const data = dataOf(objects(), source.data, pod.namespace, source.name);
        if (data === undefined) {
          if (source.optional) return [];
          throw new MissingError(`${what} does not exist`);
        }
        const items = source.items ?? [...data.keys()].map((key) => ({ key, path: key, mode: 0 }));
        return items.flatMap(({ key, path, mode: own }): [string, VolumeFile][] => {
          const content = data.get(key);
          if (content !== undefined) return [[path, { content, mode: own || mode }]];
          if (source.optional) return [];
          throw new MissingError(`${what} has no key "${key}"`);
        });
      }
    }
  }
}

function stampOf(files: ReadonlyMap<string, VolumeFile>): string {
  const hash = createHash("sha256");
  for (const [path, { content, mode }] of files)
    hash.update(`${path}\0${mode}\0${content.length}\0`).update(content);
  return hash.digest("hex").slice(0, 16);
}

/** kubernetes.io/docs/concepts/storage/volumes/#hostpath-volume-types */
function hostPath(path: string, type: string): string {
  if (type === "DirectoryOrCreate") mkdirSync(path, { recursive: true });
  else if (type === "FileOrCreate" && !existsSync(path)) writeFileSync(path, "");
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) throw new MissingError(`hostPath ${path} does not exist`);
  const fits =
    type === "Directory"
      ? stat.isDirectory()
      : type === "File"
        ? stat.isFile()
        : type === "Socket"
          ? stat.isSocket()
          : type === "CharDevice"
            ? stat.isCharacterDevice()
            : type === "BlockDevice"
              ? stat.isBlockDevice()
              : true;
  if (!fits) throw new MissingError(`hostPath ${path} is no ${type}`);
  return path;
}
