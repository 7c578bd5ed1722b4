import { readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { Server, ServerCredentials } from "@grpc/grpc-js";
import { Authority } from "#certs/authority/index.ts";
import { createLogger } from "#lib/log.ts";
import { addCaService, createAuthenticate } from "./ca/index.ts";
import { readConfig } from "./config.ts";
import { resourcesFor, toWorld } from "./pipeline.ts";
import { AdsServer } from "./serve/ads.ts";
import { watchFiles } from "./sources/file.ts";

const log = createLogger("control-plane");

async function main(): Promise<void> {
  const at = process.argv.indexOf("--config");
  const file = process.argv[at + 1];
  if (at < 0 || file === undefined) throw new Error("say which configuration: --config FILE");
  const config = readConfig(file);
  const paths = [
    ...config.paths,
    join(config.stateDir, "applied"),
    ...(config.platform ? [config.platform] : []),
  ];
  const nodes = new Map<string, { ip: string; namespace: string; flavour: "envoy-stock" | "weft" }>();
  const source = watchFiles(paths, () => {
    world = toWorld(source.objects(), config);
    for (const issue of source.issues()) log.warn(issue.message, { at: `${issue.file}:${issue.line}` });
    for (const [id, node] of nodes) {
      try {
        const set = resourcesFor(world, node, config);
        if (set !== null) ads.push(id, set);
      } catch (error) {
        // The proxy keeps its last good configuration.
        log.error((error as Error).message, { proxy: id });
      }
    }
  });
  let world = toWorld(source.objects(), config);
  const authenticate = createAuthenticate({
    publicKeyPem: config.tokenKeys === null ? null : readFileSync(config.tokenKeys, "utf8"),
    trustDomain: config.trustDomain,
  });
  const ads = new AdsServer({
    ...(config.tokenKeys === null ? {} : { authenticate }),
    log: log.child("ads"),
    onConnect: (node) => {
      const [, ip = "", name = ""] = node.id.split("~");
      const weft = node.metadata?.["WEFT_VERSION"] !== undefined;
      const known = {
        ip,
        namespace: name.split(".").at(-1) ?? "",
        flavour: weft ? "weft" : "envoy-stock",
      } as const;
      nodes.set(node.id, known);
      return resourcesFor(world, known, config) ?? undefined;
    },
    onDisconnect: (id) => nodes.delete(id),
  });
  const server = new Server();
  ads.register(server);
  const authority = Authority.open(join(config.stateDir, "ca"), config.trustDomain);
  addCaService(server, { authority, authenticate, defaultTtlSeconds: config.certificateTtlSeconds, log });
  for (const address of config.listen.grpc) {
    if (address.startsWith("unix:")) rmSync(address.slice(5), { force: true });
    await new Promise<void>((done, fail) =>
      server.bindAsync(address, ServerCredentials.createInsecure(), (e) => (e ? fail(e) : done())),
    );
  }
  const admin = createServer((request, response) => {
    const ok = request.url === "/healthz";
    response.writeHead(ok ? 200 : 404, { "content-type": "application/json" }).end(JSON.stringify({ ok }));
  });
  const socket = config.listen.admin.replace(/^unix:/, "");
  rmSync(socket, { force: true });
  admin.listen(socket);
  process.once("SIGTERM", () => {
    source.close();
    admin.close();
    server.forceShutdown();
  });
}

main().catch((error: Error) => {
  log.error(error.message);
  process.exitCode = 1;
});
