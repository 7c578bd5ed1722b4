/** Running a program where a container runs: its namespaces, environment and folder. */
import { readFileSync, readlinkSync } from "node:fs";
import type { PodStatus } from "#local/contract.ts";
import { UserError } from "./errors.ts";

export interface PodProcess {
  readonly command: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  readonly cwd: string;
}

type Container = PodStatus["containers"][number];

const PROXY = "istio-proxy";

/** The container of that name; without one the first that is not the proxy. */
export function containerOf(pod: PodStatus, wanted: unknown): Container {
  const names = pod.containers.map(({ name }) => name).join(", ");
  const found =
    typeof wanted === "string"
      ? pod.containers.find(({ name }) => name === wanted)
      : (pod.containers.find(({ role }) => role === "main") ??
        pod.containers.find(({ name }) => name !== PROXY) ??
        pod.containers[0]);
  if (found === undefined)
    throw new UserError(
      typeof wanted === "string"
        ? `${pod.name} has no container "${wanted}": ${names}`
        : `${pod.name} has no container that runs`,
    );
  return found;
}

/** What starts `command` beside the process of the container. A container that does not run is a UserError. */
export function insideOf(pod: PodStatus, container: Container, command: readonly string[]): PodProcess {
  const { pid, name, state, lastExit, enter } = container;
  if (pid === undefined)
    throw new UserError(
      `container ${name} of ${pod.name} does not run (${lastExit ?? state}): weft logs ${pod.name} -c ${name}`,
    );
  try {
    const environ = readFileSync(`/proc/${pid}/environ`, "utf8").split("\0").filter(Boolean);
    const env = Object.fromEntries(environ.map((pair) => pair.split(/=(.*)/s).slice(0, 2)));
    const cwd = readlinkSync(`/proc/${pid}/cwd`);
    return enter.length === 0 ? { command, env, cwd } : { command: [...enter, ...command], env, cwd: "/" };
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new UserError(
      code === "ENOENT"
        ? `container ${name} of ${pod.name} has just ended: try again`
        : `container ${name} of ${pod.name} cannot be entered (${code}): the mesh belongs to another user`,
    );
  }
}
