/** Whether tests of transparent mode can run here. */
import { spawnSync } from "node:child_process";

let namespaces: string | undefined;
/** Why this machine cannot run a mesh in transparent mode, or "". */
export function noNamespaces(): string {
  if (namespaces === undefined) {
    const users = process.getuid?.() === 0 ? [] : ["--user", "--map-current-user", "--keep-caps"];
    const tried = spawnSync("unshare", [...users, "--net", "--mount", "iptables", "-t", "nat", "-S"]);
    namespaces =
      tried.status === 0
        ? ""
        : `no transparent mode here: ${tried.error?.message ?? tried.stderr.toString().trim()}; ` +
          "`weft up --mode transparent` says what to do";
  }
  return namespaces;
}
