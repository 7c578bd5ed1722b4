import { resolve } from "node:path";
import { PlatformError, type PlatformObject, startPlatform, stopRunning } from "#local/index.ts";
import type { Command } from "../command.ts";
import { EXIT, UserError } from "../errors.ts";
import { loadFile, yamlFiles } from "../yaml-files.ts";

const DATA_PLANES = ["weft", "envoy", "none"] as const;

export const up: Command = {
  name: "up",
  summary: "Run a mesh on this machine: Deployments as processes, each beside its proxy",
  args: [{ name: "<path...>", help: "YAML files or folders" }],
  options: [
    { flags: "--data-plane <kind>", help: "weft, envoy, or none (the applications alone)", default: "weft" },
    {
      flags: "--envoy <file>",
      help: "the Envoy binary for --data-plane envoy (default: $WEFT_ENVOY, else PATH)",
    },
    { flags: "--mode <mode>", help: "auto, transparent or explicit", default: "auto" },
    { flags: "--trace-sampling <percent>", help: "share of requests that are traced", default: "100" },
    {
      flags: "--otlp-endpoint <url>",
      help: "an OTLP/HTTP receiver (collector, Jaeger ...) that gets all spans too, such as http://127.0.0.1:4318",
    },
  ],
  examples: ["weft up examples/bookinfo"],
  async run({ args, options, cwd, env, out, stateDir }) {
    const dataPlane = DATA_PLANES.find((kind) => kind === options["dataPlane"]);
    if (dataPlane === undefined)
      throw new UserError(`--data-plane: one of ${DATA_PLANES.join(", ")}`, EXIT.usage);
    const mode = options["mode"];
    if (mode !== "auto" && mode !== "transparent" && mode !== "explicit") {
      throw new UserError("--mode: one of auto, transparent, explicit", EXIT.usage);
    }
    const envoy = options["envoy"] ?? env["WEFT_ENVOY"];
    const otlpEndpoint = options["otlpEndpoint"];
    if (otlpEndpoint !== undefined && !/^https?:\/\/[^/]/.test(String(otlpEndpoint)))
      throw new UserError("--otlp-endpoint: a URL such as http://127.0.0.1:4318", EXIT.usage);
    const paths = args[0] as readonly string[];
    const stopped = Promise.withResolvers<void>();
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => stopped.resolve());
    try {
      const platform = await startPlatform({
        objects: platformObjects(paths, cwd),
        stateDir,
        dataPlane,
        ...(typeof envoy === "string" && envoy !== "" ? { envoy: resolve(cwd, envoy) } : {}),
        mode,
        controlPlaneConfig: {
          paths: paths.map((path) => resolve(cwd, path)),
          traceSampling: Number(options["traceSampling"]),
          ...(otlpEndpoint === undefined ? {} : { otlpEndpoint }),
        },
      });
      try {
        await Promise.race([platform.whenReady(), stopped.promise]);
        const status = platform.status();
        out.result(status, () => [
          [`mode ${status.mode}: ${status.reason}`],
          ...status.hostPorts.map(({ port, service }) => [`http://127.0.0.1:${port}`, service]),
          ...status.pods.map((pod) => [pod.name, pod.ready ? "ready" : "not ready", pod.podIp]),
          ["Ctrl-C stops everything"],
        ]);
        const lost = await Promise.race([stopped.promise, platform.lost]);
        if (typeof lost === "string") throw new PlatformError(`${lost}: the mesh is stopped; start it again`);
      } finally {
        await platform.stop();
      }
      return EXIT.ok;
    } catch (error) {
      if (error instanceof PlatformError) throw new UserError(error.message);
      throw error;
    }
  },
};

export const down: Command = {
  name: "down",
  summary: "Stop the mesh that `weft up` runs elsewhere on this machine",
  args: [],
  options: [],
  examples: ["weft down"],
  async run({ out, stateDir }) {
    const wasRunning = await stopRunning(stateDir);
    out.result({ stopped: wasRunning }, () => [[wasRunning ? "stopped" : "no mesh was running"]]);
    return EXIT.ok;
  },
};

/** What the platform runs, from the same strict reader that the control plane uses; the first errors end it. */
function platformObjects(paths: readonly string[], cwd: string): PlatformObject[] {
  const results = paths.flatMap((path) => yamlFiles(path, cwd)).map((file) => loadFile(file, cwd));
  const errors = results.flatMap((result) => result.issues).filter((issue) => issue.level === "error");
  if (errors.length > 0) {
    throw new UserError(
      errors.map((e) => `${e.file}:${e.line}: ${e.object} ${e.path} ${e.message}`).join("\n"),
    );
  }
  return results
    .flatMap((result) => result.objects)
    .map((object) => ({
      ...(object.raw as unknown as PlatformObject),
      source: { file: resolve(cwd, object.source.file), line: object.source.line },
    }));
}
