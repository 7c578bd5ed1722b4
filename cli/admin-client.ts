import { existsSync } from "node:fs";
import { join } from "node:path";
import { Client } from "undici";
import { UserError } from "./errors.ts";

/** Speaks HTTP to a Unix socket of a running mesh. A mesh that does not run is a UserError that says how to start it. */
export class AdminClient {
  readonly #socket: string;
  readonly #what: string;

  constructor(socket: string, what: string) {
    this.#socket = socket;
    this.#what = what;
  }

  static controlPlane(stateDir: string): AdminClient {
    return new AdminClient(join(stateDir, "admin.sock"), "the control plane");
  }

  static proxy(stateDir: string, pod: string): AdminClient {
    return new AdminClient(join(stateDir, "pods", pod, "admin.sock"), `the proxy of ${pod}`);
  }

  async get<T>(path: string): Promise<T> {
    return this.#send<T>("GET", path);
  }
  /** Null where the answer is 404. */
  async find<T>(path: string): Promise<T | null> {
    return this.#send<T | null>("GET", path, undefined, true);
  }
  async put<T>(path: string, body: string): Promise<T> {
    return this.#send<T>("PUT", path, body);
  }
  async post<T>(path: string, body: unknown = {}): Promise<T> {
    return this.#send<T>("POST", path, JSON.stringify(body));
  }
  async delete<T>(path: string): Promise<T> {
    return this.#send<T>("DELETE", path);
  }

  async #send<T>(
    method: "GET" | "PUT" | "POST" | "DELETE",
    path: string,
    body?: string,
    mayBeAbsent = false,
  ): Promise<T> {
    if (!existsSync(this.#socket))
      throw new UserError(`no mesh runs here (no socket at ${this.#socket}); start one with: weft up PATH`);
    const client = new Client("http://localhost", { socketPath: this.#socket, headersTimeout: 120_000 });
    try {
      const response = await client.request({ method, path, body: body ?? null });
      const text = await response.body.text();
      if (response.statusCode === 404 && mayBeAbsent) return null as T;
      if (response.statusCode >= 400)
        throw new UserError(messageOf(text) ?? `${this.#what} answered ${response.statusCode}`);
      return (text === "" ? null : JSON.parse(text)) as T;
    } catch (error) {
      if (error instanceof UserError) throw error;
      const reason = error instanceof Error ? error.message : String(error);
      throw new UserError(`${this.#what} does not answer on ${this.#socket}: ${reason}`);
    } finally {
      await client.close().catch(() => undefined);
    }
  }
}

/** The sentence in an error answer `{error}` or `{errors: [...]}`; null when it is something else. */
function messageOf(text: string): string | null {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== "object" || value === null) return null;
    if ("error" in value && typeof value.error === "string") return value.error;
    if ("errors" in value && Array.isArray(value.errors)) {
      return value.errors
        .map((e: unknown) =>
          typeof e === "string" ? e : ((e as { message?: string }).message ?? JSON.stringify(e)),
        )
        .join("\n");
    }
    return null;
  } catch {
    return null;
  }
}
