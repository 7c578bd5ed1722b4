import { readdirSync, realpathSync, statSync } from "node:fs";
import { extname, join } from "node:path";

const ENDINGS: readonly string[] = [".yaml", ".yml", ".json"];

/**
 * The YAML and JSON files of a folder and of those below it, sorted, and these folders. Links are followed, each folder
 * is read once. What begins with a dot is left alone: a ConfigMap's mount has every file a second time in `..data`.
 */
export function walk(folder: string): { files: string[]; folders: string[] } {
  const files: string[] = [];
  const folders: string[] = [];
  const seen = new Set<string>();
  const into = (at: string): void => {
    const real = realpathSync(at);
    if (seen.has(real)) return;
    seen.add(real);
    folders.push(at);
    for (const name of readdirSync(at)) {
      if (name.startsWith(".")) continue;
      const path = join(at, name);
      if (isFolder(path)) into(path);
      else if (ENDINGS.includes(extname(name))) files.push(path);
    }
  };
  into(folder);
  return { files: files.sort(), folders };
}

function isFolder(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch {
    return false; // a link that leads nowhere: whoever reads it says so
  }
}
