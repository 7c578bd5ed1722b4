import { realpathSync } from "node:fs";
import { dirname, resolve } from "node:path";

/** Is the path the folder or in it? Links are followed, as far as the path exists. */
export function isBelow(path: string, folder: string): boolean {
  return `${real(path)}/`.startsWith(`${real(folder)}/`);
}

function real(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    const parent = dirname(path);
    return path === parent ? path : resolve(real(parent), path.slice(parent.length).replace(/^\//, ""));
  }
}
