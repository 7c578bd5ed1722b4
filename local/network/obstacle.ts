/** Why a machine cannot have transparent mode, and what its owner can do about it. */
import { accessSync, constants, readFileSync } from "node:fs";
import { delimiter, join } from "node:path";

const TOOLS: readonly (readonly [tool: string, comesWith: string])[] = [
  ["ip", "iproute2"],
  ["iptables-restore", "iptables"],
  ["unshare", "util-linux"],
  ["nsenter", "util-linux"],
  ["mount", "mount"],
];
const FORBIDDING: readonly (readonly [setting: string, forbids: (value: number) => boolean, to: number])[] = [
  ["kernel.unprivileged_userns_clone", (value) => value === 0, 1],
  ["user.max_user_namespaces", (value) => value === 0, 15000],
  ["user.max_net_namespaces", (value) => value === 0, 15000],
  ["kernel.apparmor_restrict_unprivileged_userns", (value) => value === 1, 0],
];
const CONTAINER =
  "inside of a container it has to be started so that it may make namespaces (docker run --privileged)";

/** Administrators' folders are not on every user's PATH, but that is where ip and iptables are. */
export function searchPath(path: string): string {
  const folders = path.split(delimiter).filter((folder) => folder !== "");
  for (const folder of ["/usr/sbin", "/sbin"]) if (!folders.includes(folder)) folders.push(folder);
  return folders.join(delimiter);
}

/** One sentence about what is not installed; null: nothing is missing. */
export function missingTools(path: string): string | null {
  const missing = TOOLS.filter(([tool]) => !path.split(delimiter).some((folder) => runs(join(folder, tool))));
  if (missing.length === 0) return null;
  const packages = [...new Set(missing.map(([, comesWith]) => comesWith))].join(", ");
  return `${missing.map(([tool]) => tool).join(", ")} not found on PATH; install ${packages}`;
}

function runs(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** What the failed attempt said, with the setting or package that stands in its way where that can be told. */
export function explain(said: string, setting: (name: string) => number | null = readSetting): string {
  const what = said.split("\n").at(-1)?.trim() || "the attempt ended without a word";
  if (/unrecognized option|invalid option|unknown option/.test(said))
    return `unshare is too old or of another kind (${what}); install util-linux 2.36 or newer`;
  if (/^unshare:|uid_map|setgroups/m.test(said)) {
    for (const [name, forbids, to] of FORBIDDING) {
      const value = setting(name);
      if (value !== null && forbids(value))
        return `the kernel forbids namespaces to users (${name} = ${value}: ${what}); run: sudo sysctl -w ${name}=${to}`;
    }
    if (/No space left|Resource temporarily/.test(said))
      return `too many namespaces already (${what}); raise user.max_user_namespaces and user.max_net_namespaces`;
    return `namespaces are forbidden here (${what}); ${CONTAINER}`;
  }
  if (/^iptables/m.test(said))
    return `iptables cannot redirect (${what}); the kernel needs REDIRECT: sudo modprobe -a nft_chain_nat xt_REDIRECT`;
  if (/^ip:|RTNETLINK/m.test(said)) return `the kernel gives no veth pair (${what}); run: sudo modprobe veth`;
  if (/^(nsenter|mount):/m.test(said))
    return `namespaces can be made but not used (${what}); a security module such as AppArmor or SELinux may be in the way`;
  if (/ip_forward/.test(said)) return `/proc/sys is read-only (${what}); ${CONTAINER}`;
  return what;
}

function readSetting(name: string): number | null {
  try {
    return Number(readFileSync(`/proc/sys/${name.replaceAll(".", "/")}`, "utf8"));
  } catch {
    return null;
  }
}
