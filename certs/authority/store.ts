/** The CA's two files. A directory appears whole or not at all: it is written aside, synced, and renamed. */
import {
  closeSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";

export interface Stored {
  certificate: string;
  key: string;
}

const CERTIFICATE = "root-cert.pem";
const KEY = "root-key.pem";

/** What is there; undefined only for an absent or empty directory. Throws on anything half, foreign or readable by others. */
export function readStore(directory: string): Stored | undefined {
  let stat: ReturnType<typeof lstatSync>;
  try {
    stat = lstatSync(directory);
  } catch (problem) {
    if ((problem as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw problem;
  }
  if (!stat.isDirectory()) throw new Error(`${directory} is not a directory; the CA needs one of its own`);
  const names = readdirSync(directory);
  if (names.length === 0) return undefined;
  for (const name of [KEY, CERTIFICATE])
    if (!names.includes(name))
      throw new Error(
        `the CA in ${directory} has no ${name}; restore it from a copy (no new root is made over an old one)`,
      );
  checkMode(directory);
  checkMode(join(directory, KEY));
  return {
    certificate: readFileSync(join(directory, CERTIFICATE), "utf8"),
    key: readFileSync(join(directory, KEY), "utf8"),
  };
}

function checkMode(path: string): void {
  const stat = lstatSync(path);
  if (stat.isSymbolicLink()) throw new Error(`${path} is a symbolic link; the CA's files must be its own`);
  const uid = process.geteuid?.() ?? stat.uid;
  if (stat.uid !== uid) throw new Error(`${path} belongs to user ${stat.uid}, this process is user ${uid}`);
  if ((stat.mode & 0o077) !== 0)
    throw new Error(
      `${path} is open to others (mode ${(stat.mode & 0o777).toString(8)}): the root key may be known to them. If it is not, chmod go= ${path}`,
    );
}

/** The fingerprint of the root, beside the directory: it outlives a directory that somebody removed. */
export function readMark(directory: string): { path: string; fingerprint: string } | undefined {
  const path = `${directory}.sha256`;
  try {
    return { path, fingerprint: readFileSync(path, "utf8").trim() };
  } catch (problem) {
    if ((problem as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw problem;
  }
}

/** Keeps the fingerprint of the root beside the CA's directory (`DIR.sha256`), durably: written, synced, renamed. */
export function writeMark(directory: string, fingerprint: string): void {
  const path = `${directory}.sha256`;
  rmSync(`${path}.new`, { force: true });
  writeSynced(`${path}.new`, `${fingerprint}\n`);
  renameSync(`${path}.new`, path);
}

/** Makes `directory` (0700) with both files (0600). On any failure, a full disk included, nothing is left behind. */
export function createStore(directory: string, stored: Stored): void {
  const parent = dirname(directory);
  mkdirSync(parent, { recursive: true, mode: 0o700 });
  const draft = mkdtempSync(join(parent, `.${basename(directory)}-`)); // mkdtemp: 0700
  try {
    writeSynced(join(draft, KEY), stored.key);
    writeSynced(join(draft, CERTIFICATE), stored.certificate);
    syncDirectory(draft);
    renameSync(draft, directory); // replaces an empty directory, fails on any other
    syncDirectory(parent);
  } catch (problem) {
    rmSync(draft, { recursive: true, force: true });
    throw new Error(`cannot write the new CA to ${directory}: ${(problem as Error).message}`);
  }
}

function writeSynced(path: string, text: string): void {
  const file = openSync(path, "wx", 0o600);
  try {
    writeFileSync(file, text);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

function syncDirectory(path: string): void {
  const handle = openSync(path, "r");
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}
