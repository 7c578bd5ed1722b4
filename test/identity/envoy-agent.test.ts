/** The agent, a CA and a real Envoy: our secrets are accepted, mTLS is demanded, and SIGTERM ends both. */
import { spawn } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "node:tls";
import { create, createRegistry, fromJson } from "@bufbuild/protobuf";
import { anyPack } from "@bufbuild/protobuf/wkt";
import { Server, ServerCredentials, type ServerDuplexStream } from "@grpc/grpc-js";
import { expect, onTestFinished, test } from "vitest";
import { Authority } from "#certs/authority/index.ts";
import { fromPem, parseCsr, validateSvid } from "#certs/x509/index.ts";
import { findEnvoy } from "#test/harness/envoy.ts";
import { ListenerSchema } from "#xds/gen/envoy/config/listener/v3/listener_pb.js";
import { TcpProxySchema } from "#xds/gen/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy_pb.js";
import { DownstreamTlsContextSchema } from "#xds/gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.js";
import { AggregatedDiscoveryService } from "#xds/gen/envoy/service/discovery/v3/ads_pb.js";
import {
  type DeltaDiscoveryRequest,
  type DeltaDiscoveryResponse,
  DeltaDiscoveryResponseSchema,
} from "#xds/gen/envoy/service/discovery/v3/discovery_pb.js";
import { type IstioCertificateRequest, IstioCertificateService } from "#xds/gen/security/v1alpha1/ca_pb.js";
import { toGrpc } from "#xds/grpc.ts";

const ID = "spiffe://cluster.local/ns/default/sa/reviews";
const envoy = findEnvoy();
const LISTENER_TYPE = "type.googleapis.com/envoy.config.listener.v3.Listener";

function mtlsListener(port: number) {
  const sds = (name: string) => ({
    name,
    sdsConfig: {
      resourceApiVersion: "V3",
      apiConfigSource: {
        apiType: "GRPC",
        transportApiVersion: "V3",
        grpcServices: [{ envoyGrpc: { clusterName: "sds-grpc" } }],
      },
    },
  });
  return fromJson(
    ListenerSchema,
    {
      name: "mtls",
      address: { socketAddress: { address: "127.0.0.1", portValue: port } },
      filterChains: [
        {
          transportSocket: {
            name: "envoy.transport_sockets.tls",
            typedConfig: {
              "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
              requireClientCertificate: true,
              commonTlsContext: {
                tlsCertificateSdsSecretConfigs: [sds("default")],
                validationContextSdsSecretConfig: sds("ROOTCA"),
              },
            },
          },
          filters: [
            {
              name: "envoy.filters.network.tcp_proxy",
              typedConfig: {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                statPrefix: "x",
                cluster: "xds-grpc", // any that exists: with none, tcp_proxy closes before the handshake
              },
            },
          ],
        },
      ],
    },
    { registry: createRegistry(DownstreamTlsContextSchema, TcpProxySchema) },
  );
}

async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve) => probe.listen(0, "127.0.0.1", resolve));
  const { port } = probe.address() as AddressInfo;
  await new Promise((resolve) => probe.close(resolve));
  return port;
}

test.skipIf("missing" in envoy)(
  "Envoy takes certificates from the agent and demands one from its peer",
  async () => {
    const dir = mkdtempSync(join(tmpdir(), "weft-envoy-"));
    onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
    const authority = Authority.open(join(dir, "ca"), "cluster.local");
    const port = await freePort();
    const seen = { authorization: "" };
    const streams: { end(): void }[] = [];

    const server = new Server();
    server.addService(toGrpc(IstioCertificateService), {
      createCertificate: (
        call: { request: IstioCertificateRequest },
        answer: (e: null, r: unknown) => void,
      ) =>
        answer(null, {
          certChain: authority.issue(parseCsr(call.request.csr).spki, ID, 3600).chain,
          $typeName: "istio.v1.auth.IstioCertificateResponse",
        }),
    });
    server.addService(toGrpc(AggregatedDiscoveryService), {
      deltaAggregatedResources: (
        stream: ServerDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>,
      ) => {
        seen.authorization = String(stream.metadata.get("authorization")[0]);
        streams.push(stream);
        stream.on("error", () => {});
        stream.on("end", () => stream.end());
        stream.on("data", (request: DeltaDiscoveryRequest) => {
          if (request.responseNonce !== "") return;
          const resource = anyPack(ListenerSchema, mtlsListener(port));
          stream.write(
            create(DeltaDiscoveryResponseSchema, {
              typeUrl: request.typeUrl,
              nonce: "1",
              systemVersionInfo: "1",
              resources: request.typeUrl === LISTENER_TYPE ? [{ name: "mtls", version: "1", resource }] : [],
            }),
          );
        });
      },
    });
    await new Promise<void>((resolve, reject) =>
      server.bindAsync(`unix:${join(dir, "xds.sock")}`, ServerCredentials.createInsecure(), (problem) =>
        problem ? reject(problem) : resolve(),
      ),
    );
    onTestFinished(() => server.forceShutdown());

    writeFileSync(join(dir, "token"), "a.b.c\n");
    const config = join(dir, "proxy.json");
    writeFileSync(
      config,
      JSON.stringify({
        node: {
          id: "sidecar~127.0.0.1~a.default~default.svc.cluster.local",
          cluster: "a.default",
          metadata: {},
        },
        discovery: { address: `unix:${join(dir, "xds.sock")}`, tokenFile: join(dir, "token") },
        trustDomain: "cluster.local",
        admin: `unix:${join(dir, "admin.sock")}`,
        sds: `unix:${join(dir, "sds.sock")}`,
        logLevel: "warn",
        drainSeconds: 0,
      }),
    );
    const main = new URL("../../sidecar/envoy/main.ts", import.meta.url).pathname;
    const agent = spawn(
      process.execPath,
      [main, "--config", config, "--envoy", "path" in envoy ? envoy.path : ""],
      { stdio: ["ignore", "inherit", "pipe"] },
    );
    let log = "";
    agent.stderr.on("data", (chunk: Buffer) => {
      log += chunk;
    });
    const ended = new Promise<number | null>((resolve) => agent.once("exit", resolve));
    onTestFinished(() => void agent.kill("SIGTERM")); // SIGKILL would leave Envoy behind

    const key = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
    const spki = key.publicKey.export({ format: "der", type: "spki" });
    const mine = {
      key: key.privateKey.export({ format: "pem", type: "pkcs8" }) as string,
      cert: authority.issue(spki, "spiffe://cluster.local/ns/default/sa/client", 3600).chain[0]!,
    };
    const handshake = (with_: object): Promise<Buffer> =>
      new Promise((resolve, reject) => {
        const socket = connect({
          host: "127.0.0.1",
          port,
          ca: authority.rootPem,
          checkServerIdentity: () => undefined,
          maxVersion: "TLSv1.2",
          ...with_,
        });
        socket.once("error", reject);
        socket.once("secureConnect", () => {
          resolve(socket.getPeerCertificate().raw);
          socket.destroy();
        });
      });
    const until = Date.now() + 12_000;
    let peer: Buffer | undefined;
    while (peer === undefined) {
      try {
        peer = await handshake(mine);
      } catch (problem) {
        if (Date.now() > until) throw new Error(`no handshake: ${(problem as Error).message}\n${log}`);
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
    const roots = fromPem("CERTIFICATE", authority.rootPem);
    expect(validateSvid([peer], roots, "cluster.local")).toMatchObject({ spiffeId: ID });
    await expect(handshake({})).rejects.toThrow(); // TLS 1.2: a missing client certificate fails the handshake itself
    expect(seen.authorization).toBe("Bearer a.b.c");
    const bootstrap = readFileSync(join(dir, "envoy.json"), "utf8");
    expect(bootstrap).not.toContain("PRIVATE KEY");
    expect(bootstrap).not.toContain("a.b.c");
    // The token was renewed since Envoy started; its next stream carries the new one.
    writeFileSync(join(dir, "token"), "d.e.f\n");
    for (const stream of streams) stream.end();
    await expect.poll(() => seen.authorization, { timeout: 15_000 }).toBe("Bearer d.e.f");
    agent.kill("SIGTERM");
    expect(await ended).toBe(0);
  },
);
