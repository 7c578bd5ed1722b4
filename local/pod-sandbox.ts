import { readFileSync } from "node:fs";
import { availableParallelism, totalmem } from "node:os";
import { join } from "node:path";
import type { PodAddress } from "./addresses.ts";
import { type Cgroup, limited, makeCgroup } from "./cgroup.ts";
import { type ContainerSpec, expand } from "./container-spec.ts";
import { MARK } from "./leftovers.ts";
import type { PodNetwork } from "./network/network.ts";
import { searchPath } from "./network/obstacle.ts";
import { NODE_IP } from "./network/rules.ts";
import type { PlatformObject } from "./object.ts";
import { containerEnv, inheritedEnv } from "./pod-env.ts";
import { run } from "./probe-actions.ts";
import type { Launch } from "./process.ts";
import type { PodTemplate } from "./spec.ts";
import type { PodFields } from "./volumes/data.ts";
import { entered, findMounter, type Mounter, mounted } from "./volumes/mounts.ts";
import { Volumes } from "./volumes/volumes.ts";

const PROXY_PORT = 15001;

export interface SandboxOptions {
  readonly name: string;
  readonly uid: string;
  /** The pod's own folder in the state directory. */
  readonly dir: string;
  readonly stateDir: string;
  readonly template: PodTemplate;
  readonly address: PodAddress;
  readonly serviceEnv: Readonly<Record<string, string>>;
  readonly objects?: () => readonly PlatformObject[];
  /** What the user should know of this pod. */
  readonly note: (note: string) => void;
}

/** What surrounds the programs of a pod: its network and mount namespaces, volumes, environment and limits. */
export class Sandbox {
  readonly #options: SandboxOptions;
  readonly #cgroups = new Map<string, Cgroup>();
  readonly volumes: Volumes;
  /** Undefined until the pod starts. */
  network: PodNetwork | undefined;
  #mounter: Mounter = null;

  constructor(options: SandboxOptions) {
    this.#options = options;
    this.volumes = new Volumes(options.template.volumes, {
      dir: join(options.dir, "volumes"),
      claimsDir: join(options.stateDir, "volumes"),
      pod: this.#fields(),
      objects: () => options.objects?.() ?? [],
      token: () => readFileSync(join(options.dir, "token"), "utf8"),
    });
  }

  /** Finds what this machine gives for mounts, if the pod has any. */
  async open(network: PodNetwork): Promise<void> {
    this.network = network;
    if (this.#all().some((c) => c.mounts.length > 0)) this.#mounter = await findMounter(network, process.env);
  }

  #all(): readonly ContainerSpec[] {
    const { initContainers, containers } = this.#options.template;
    return [...initContainers, ...containers];
  }

  wasOutOfMemory({ name }: ContainerSpec): boolean {
    return this.#cgroups.get(name)?.wasOutOfMemory() ?? false;
  }

  /** When no program of the pod runs any more. */
  freeLimits(): void {
    for (const group of this.#cgroups.values()) group.remove();
    this.#cgroups.clear();
  }

  /** Whether its volumes are mounted for it, so that it is in a mount namespace of its own. */
  mounts(spec: ContainerSpec): boolean {
    return spec.mounts.length > 0 && this.#mounter !== null;
  }

  /** Throws MissingError when something is awaited. */
  launch(spec: ContainerSpec): Launch {
    const env = this.#env(spec);
    const words = spec.command.map((word) => expand(word, env));
    const binds = spec.mounts.map((m) => ({
      target: join("/", m.mountPath),
      source: this.#source(m, env),
      readOnly: m.readOnly,
    }));
    const mounts = this.mounts(spec);
    if (!mounts) this.#notePlaces(spec);
    const group = this.#limits(spec);
    const here = this.network!.enter([], "/").length === 0;
    if (here && !mounts && group === undefined) return { command: words, env };
    let command = withPath(env, words);
    if (mounts)
      command = mounted(
        this.#mounter!,
        binds,
        join(this.#options.dir, "mounts", spec.name),
        command,
        spec.cwd,
      );
    command = this.network!.enter(command, mounts ? "/" : spec.cwd);
    return { command: group === undefined ? command : limited(group, command), env: toolsEnv(env) };
  }

  #notePlaces({ name, mounts }: ContainerSpec): void {
    for (const { volume, mountPath } of mounts)
      this.#options.note(
        `${name}: this machine gives no mount namespace, so volume "${volume}" is not at ${mountPath} but at $${volumeVariable(volume)}`,
      );
  }

  #limits(spec: ContainerSpec): Cgroup | undefined {
    if (spec.limits.cpu === undefined && spec.limits.memory === undefined) return undefined;
    const known = this.#cgroups.get(spec.name);
    if (known !== undefined) return known;
    const group = makeCgroup(`weft-${this.#options.uid.slice(0, 8)}-${spec.name}`, spec.limits);
    if ("obstacle" in group) {
      this.#options.note(`${spec.name}: resources.limits are not carried out: ${group.obstacle}`);
      return undefined;
    }
    this.#cgroups.set(spec.name, group);
    return group;
  }

  #source(
    { volume, subPath, expands }: ContainerSpec["mounts"][number],
    env: Readonly<Record<string, string>>,
  ): string {
    return this.volumes.source(volume, expands ? expand(subPath, env) : subPath);
  }

  /** What stands before a command that is to run in a container: its namespaces and folder. `pid`: its main process. */
  enter(spec: ContainerSpec, pid: number | undefined): readonly string[] {
    if (this.network === undefined) return [];
    if (this.#mounter !== null && spec.mounts.length > 0 && pid !== undefined)
      return this.network.enter(entered(this.#mounter, pid, [], spec.cwd), "/");
    return this.network.enter([], spec.cwd);
  }

  exec(
    spec: ContainerSpec,
    pid: number | undefined,
    command: readonly string[],
    timeoutMs: number,
  ): Promise<{ code: number; said: string }> {
    try {
      const enter = this.enter(spec, pid);
      const cwd = enter.length === 0 ? spec.cwd : "/";
      const env = this.#env(spec);
      if (enter.length === 0) return run(command, cwd, env, timeoutMs);
      return run([...enter, ...withPath(env, command)], cwd, toolsEnv(env), timeoutMs);
    } catch (error) {
      return Promise.resolve({ code: 126, said: (error as Error).message });
    }
  }

  /** Where its programs listen, and what they call from. */
  get appIp(): string {
    const { address } = this.#options;
    return address.servicePrefix === "" ? address.podIp : address.appIp;
  }

  #fields(): PodFields {
    const { template, address } = this.#options;
    return {
      name: this.#options.name,
      namespace: template.namespace,
      uid: this.#options.uid,
      serviceAccount: template.serviceAccount,
      podIp: this.appIp,
      hostIp: address.servicePrefix === "" ? NODE_IP : "127.0.0.1",
      labels: template.labels,
      annotations: template.annotations,
      containers: this.#all(),
      machine: { cpu: availableParallelism(), memory: totalmem() },
    };
  }

  #env(container: ContainerSpec): Record<string, string> {
    const { address, template, serviceEnv, stateDir, objects } = this.#options;
    const base: Record<string, string> = {
      ...inheritedEnv(),
      [MARK]: stateDir,
      ...serviceEnv,
      HOSTNAME: template.hostname ?? this.#options.name,
      POD_IP: this.appIp,
      WEFT_OTLP_SOCKET: join(stateDir, "otlp.sock"),
    };
    if (address.servicePrefix !== "") {
      // What many frameworks listen on; elsewhere the port is the proxy's.
      base["HOST"] = this.appIp;
      if (template.inject) Object.assign(base, proxyEnv(`http://${address.servicePrefix}.0.1:${PROXY_PORT}`));
    }
    for (const { volume, subPath, expands, mountPath } of container.mounts)
      base[volumeVariable(volume)] ??=
        this.#mounter !== null ? mountPath : this.volumes.source(volume, expands ? "" : subPath);
    return containerEnv(container, { pod: this.#fields(), objects: objects?.() ?? [], base });
  }
}

/** Found on the container's own PATH, whatever PATH our tools before it need. */
function withPath(env: Readonly<Record<string, string>>, command: readonly string[]): readonly string[] {
  const path = env["PATH"];
  return ["env", ...(path === undefined ? ["-u", "PATH"] : [`PATH=${path}`]), ...command];
}

/** For nsenter, unshare, mount, chroot and env. */
function toolsEnv(env: Readonly<Record<string, string>>): Record<string, string> {
  return { ...env, PATH: searchPath(process.env["PATH"] ?? "") };
}

/** `app-config` -> WEFT_VOLUME_APP_CONFIG */
function volumeVariable(volume: string): string {
  return `WEFT_VOLUME_${volume.toUpperCase().replaceAll("-", "_")}`;
}

function proxyEnv(proxy: string): Record<string, string> {
  // Node reads ranges, others read CIDR: both say "not for loopback".
  const direct = "localhost,127.0.0.0/8,127.0.0.1-127.255.255.255";
  return {
    HTTP_PROXY: proxy,
    http_proxy: proxy,
    NO_PROXY: direct,
    no_proxy: direct,
    NODE_USE_ENV_PROXY: "1",
  };
}
