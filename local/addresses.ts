import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { PlatformError } from "./object.ts";

export interface PodAddress {
  readonly podIp: string;
  /** Where the app listens (explicit) or what its own connections come from (transparent). */
  readonly appIp: string;
  /** Explicit only: "127.21". */
  readonly servicePrefix: string;
}

interface Saved {
  pods: Record<string, number>;
  services: Record<string, number>;
}

// Held by the supervisor while a pod has the number: the kernel frees it even after kill -9, so that meshes side by side never share one.
const RESERVATION_PORT = 15019;
const FIRST = 20;
const LAST = 250;

/** Addresses of pods and Services; a name keeps its address across restarts of the mesh (the file is rewritten atomically). */
export class Addresses {
  readonly #file: string;
  readonly #mode: "explicit" | "transparent";
  readonly #saved: Saved;
  readonly #held = new Map<string, { number: number; lock?: Server }>();
  /** Chosen for a pod that is about to be held: pods are made at the same time. */
  readonly #reserving = new Set<number>();

  constructor(file: string, mode: "explicit" | "transparent") {
    this.#file = file;
    this.#mode = mode;
    this.#saved = load(file);
  }

  async pod(name: string): Promise<PodAddress> {
    let held = this.#held.get(name);
    if (held === undefined) {
      held = await this.#reserve(name);
      this.#held.set(name, held);
      this.#reserving.delete(held.number);
      this.#saved.pods[name] = held.number;
      this.#save();
    }
    const n = held.number;
    if (this.#mode === "explicit")
      return { podIp: `127.0.1.${n}`, appIp: `127.0.2.${n}`, servicePrefix: `127.${n}` };
    return { podIp: `10.244.0.${n}`, appIp: `10.244.1.${n}`, servicePrefix: "" };
  }

  async #reserve(name: string): Promise<{ number: number; lock?: Server }> {
    const taken = new Set([...this.#held.values()].map((h) => h.number));
    const remembered = this.#saved.pods[name];
    const others = new Set(Object.values(this.#saved.pods));
    const all = Array.from({ length: LAST - FIRST + 1 }, (_, i) => FIRST + i);
    const order = [
      ...(remembered === undefined ? [] : [remembered]),
      ...all.filter((n) => !others.has(n)),
      ...all,
    ];
    for (const number of order) {
      if (taken.has(number) || this.#reserving.has(number)) continue;
      this.#reserving.add(number);
      if (this.#mode === "transparent") return { number };
      const lock = await tryListen(`127.0.1.${number}`);
      if (lock !== undefined) return { number, lock };
      this.#reserving.delete(number);
    }
    throw new PlatformError(
      `no free pod address: a machine holds at most ${LAST - FIRST + 1} pods; stop another mesh or lower replicas`,
    );
  }

  /** Free for others; `remember`: another pod of this name gets the same one, unless addresses run out. */
  release(name: string, remember = false): void {
    this.#held.get(name)?.lock?.close();
    this.#held.delete(name);
    if (remember) return;
    delete this.#saved.pods[name];
    this.#save();
  }

  /** The virtual address of a Service, 10.96.C.D; the same for its whole life. */
  service(key: string): string {
    let n = this.#saved.services[key];
    if (n === undefined) {
      const used = new Set(Object.values(this.#saved.services));
      n = 10;
      while (used.has(n) || (n & 0xff) === 0 || (n & 0xff) === 0xff) n++;
      this.#saved.services[key] = n;
      this.#save();
    }
    return `10.96.${n >> 8}.${n & 0xff}`;
  }

  close(): void {
    for (const { lock } of this.#held.values()) lock?.close();
    this.#held.clear();
  }

  /** What cannot be written (a full disk) is held all the same; it is only not remembered. */
  #save(): void {
    try {
      writeFileSync(`${this.#file}.new`, JSON.stringify(this.#saved), { mode: 0o600 });
      renameSync(`${this.#file}.new`, this.#file);
    } catch {
      // The next change tries again.
    }
  }
}

function load(file: string): Saved {
  try {
    const { pods, services } = JSON.parse(readFileSync(file, "utf8")) as Partial<Saved>;
    return { pods: numbers(pods, FIRST, LAST), services: numbers(services, 10, 0xffff) };
  } catch {
    return { pods: {}, services: {} };
  }
}

/** What of a file that was damaged can be an address. */
function numbers(saved: unknown, first: number, last: number): Record<string, number> {
  const within = (n: unknown): boolean => Number.isInteger(n) && Number(n) >= first && Number(n) <= last;
  return Object.fromEntries(Object.entries(saved ?? {}).filter(([, n]) => within(n)));
}

function tryListen(host: string): Promise<Server | undefined> {
  return new Promise((resolve) => {
    const server = createServer((socket) => socket.destroy());
    server.once("error", () => resolve(undefined));
    server.listen({ host, port: RESERVATION_PORT, exclusive: true }, () => {
      server.unref();
      resolve(server);
    });
  });
}
