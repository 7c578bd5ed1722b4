// A registry mirror may lack the builds of a package for other platforms; npm then leaves them out of the lock file,
// and `npm ci` refuses a lock without them. This adds those entries (name, exact version, os and cpu from the name),
// which is what npm writes where they can be looked up. It also leaves out which Node a dependency wants: it runs on the
// pinned one, but npm would warn of the Node that installs. Run after every change of dependencies: `npm run lock`.
import { readFileSync, writeFileSync } from "node:fs";

interface Entry {
  version?: string;
  dev?: boolean;
  optional?: boolean;
  os?: string[];
  cpu?: string[];
  optionalDependencies?: Record<string, string>;
  engines?: Record<string, string>;
}
const OS = [
  "android",
  "darwin",
  "freebsd",
  "openbsd",
  "netbsd",
  "sunos",
  "aix",
  "linux",
  "win32",
  "openharmony",
];
const CPU = ["arm64", "x64", "ia32", "arm", "ppc64", "riscv64", "s390x", "loong64", "mips64el", "mipsel"];

const lock: { packages: Record<string, Entry> } = JSON.parse(readFileSync("package-lock.json", "utf8"));
let added = 0;
for (const [path, entry] of Object.entries(lock.packages)) {
  if (path !== "") delete entry.engines;
  for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
    const other = `node_modules/${name}`;
    if (lock.packages[other] !== undefined || !/^\d/.test(version)) continue;
    const words = name.split("/").at(-1)!.split(/[-_]/);
    const os = OS.filter((o) => words.includes(o));
    const cpu = CPU.filter((c) => words.includes(c));
    if (os.length === 0)
      throw new Error(`${name}@${version} is missing from the lock, and its name says no platform`);
    lock.packages[other] = {
      version,
      ...(cpu.length > 0 ? { cpu } : {}),
      ...(entry.dev ? { dev: true } : {}),
      optional: true,
      os,
    };
    added++;
  }
}
lock.packages = Object.fromEntries(Object.entries(lock.packages).sort(([a], [b]) => (a < b ? -1 : 1)));
writeFileSync("package-lock.json", `${JSON.stringify(lock, null, 2)}\n`);
console.log(`package-lock.json: ${added} entries for other platforms added`);
