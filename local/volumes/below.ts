import { readlinkSync, realpathSync } from "node:fs";
import { dirname, resolve } from "node:path";

/** As many links as Linux follows (path_resolution(7)). */
const MOST_LINKS = 40;

/** Is the path the folder or in it? Links are followed, as far as the path exists, and where one leads to nothing yet. */
export function isBelow(path: string, folder: string): boolean {
  return `${real(path)}/`.startsWith(`${real(folder)}/`);
}

function real(path: string, links = 0): string {
  try {
    return realpathSync(path);
  } catch {
    const parent = dirname(path);
    if (links > MOST_LINKS) return "/";
    if (path === parent) return path;
    const target = linkOf(path);
    if (target !== null) return real(resolve(real(parent, links), target), links + 1);
    return resolve(real(parent, links), path.slice(parent.length).replace(/^\//, ""));
  }
}

function linkOf(path: string): string | null {
  try {
    return readlinkSync(path);
  } catch {
    return null;
  }
}
