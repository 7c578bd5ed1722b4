import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { accessSync, constants } from "node:fs";
import { connect } from "node:net";
import { delimiter, join } from "node:path";

/** The path of a tool, or an Error that says how to get it. */
export function tool(name: string, debianPackage: string): string {
  for (const folder of [...(process.env["PATH"] ?? "").split(delimiter), "/usr/sbin", "/sbin"]) {
    const file = join(folder, name);
    try {
      accessSync(file, constants.X_OK);
      return file;
    } catch {}
  }
  throw new Error(`${name} is not installed: apt install ${debianPackage}`);
}

export interface Running {
  readonly pid: number;
  stop(): Promise<void>;
}

/** Starts a server and waits until something accepts on its port. */
export async function serve(command: readonly string[], host: string, port: number): Promise<Running> {
  const child = spawn(command[0]!, command.slice(1), { stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  child.stderr?.on("data", (chunk) => (said = (said + chunk).slice(-4000)));
  const deadline = performance.now() + 10_000;
  while (!(await accepts(host, port))) {
    if (child.exitCode !== null || performance.now() > deadline)
      throw new Error(`${command.join(" ")} does not listen on ${host}:${port}: ${said}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return { pid: child.pid!, stop: () => stop(child) };
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, "exit");
  child.kill("SIGTERM");
  await exit;
}

function accepts(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, host);
    socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    socket.once("connect", () => socket.destroy());
  });
}

/** A free port of 127.0.0.1, found by binding it. */
export async function freePort(): Promise<number> {
  const { createServer } = await import("node:net");
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, "close");
  return port;
}
