import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { PodFacts } from "../platform-state.ts";
import type { Bind } from "./holder.ts";
import { filesFirst, hostsFile, type Names, rewrite } from "./names.ts";
import { NODE_IP } from "./rules.ts";
import { CLUSTER_DOMAIN } from "./service-names.ts";

/** The files of /etc that a pod sees its own of; written in the pod's folder of the state directory. */
export function podFiles(podDir: string, pod: PodFacts, names: Names): Bind[] {
  mkdirSync(podDir, { recursive: true, mode: 0o700 });
  const binds: Bind[] = [];
  const show = (target: string, text: string): void => {
    const file = join(podDir, target.slice(target.lastIndexOf("/") + 1));
    rewrite(file, text);
    binds.push([target, file]);
  };
  const ns = pod.template.namespace;
  const search = [`${ns}.svc.${CLUSTER_DOMAIN}`, `svc.${CLUSTER_DOMAIN}`, CLUSTER_DOMAIN].join(" ");
  show("/etc/hosts", hostsFile(pod, names));
  show("/etc/resolv.conf", `search ${search}\nnameserver ${NODE_IP}\n`);
  const nsswitch = filesFirst(readOr("/etc/nsswitch.conf", ""));
  if (nsswitch !== null) show("/etc/nsswitch.conf", nsswitch);
  return binds;
}

/** After a change of Services or of pods. */
export function updateHosts(podDir: string, pod: PodFacts, names: Names): void {
  mkdirSync(podDir, { recursive: true, mode: 0o700 });
  rewrite(join(podDir, "hosts"), hostsFile(pod, names));
}

function readOr(file: string, fallback: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return fallback;
  }
}
