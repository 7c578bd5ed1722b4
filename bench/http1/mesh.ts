import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { type Platform, startPlatform } from "#local/index.ts";
import { load } from "#policies/index.ts";
import { childNamed } from "../harness/cpu.ts";
import type { Target } from "../harness/h2load.ts";

const FILE = join(import.meta.dirname, "mesh/platform.yaml");

export interface Mesh {
  /** The gateway: plain HTTP in, plain HTTP to the origin. */
  readonly plain: { readonly target: Target; readonly pids: readonly number[] };
  /** From where the client's app would call: its sidecar, mTLS, the server's sidecar, the app. */
  readonly pair: { readonly target: Target; readonly pids: readonly number[] };
  stop(): Promise<void>;
}

/** The same mesh on either data plane: route, RBAC, metrics, 1 % of requests traced, no access log. */
export async function startMesh(
  folder: string,
  dataPlane: "weft" | "envoy",
  origin: number,
  envoy: string,
): Promise<Mesh> {
  const stateDir = join(folder, dataPlane);
  // The origin is TypeScript, and pods run the user's own Node: here this one is the user's.
  process.env["PATH"] = `${dirname(process.execPath)}${delimiter}${process.env["PATH"]}`;
  const entry = join(stateDir, "policies", "origin.yaml");
  mkdirSync(join(stateDir, "policies"), { recursive: true });
  writeFileSync(
    entry,
    `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: origin
spec:
  hosts: [origin.bench]
  ports: [{number: 8080, name: http, protocol: HTTP, targetPort: ${origin}}]
  location: MESH_EXTERNAL
  resolution: STATIC
  endpoints: [{address: 127.0.0.1}]
`,
  );
  const objects = load(readFileSync(FILE, "utf8"), FILE).objects.map((object) => ({
    ...(object.raw as unknown as Parameters<typeof startPlatform>[0]["objects"][number]),
    source: { file: FILE, line: object.source.line },
  }));
  const platform = await startPlatform({
    objects,
    stateDir,
    dataPlane,
    envoy,
    mode: "explicit",
    controlPlaneConfig: { paths: [FILE, entry], traceSampling: 1, accessLog: false },
  });
  try {
    await platform.whenReady();
    return describe(platform, stateDir);
  } catch (error) {
    await platform.stop();
    throw error;
  }
}

function describe(platform: Platform, stateDir: string): Mesh {
  const { pods } = platform.status();
  const pod = (workload: string) => pods.find((p) => p.workload === workload)!;
  // Envoy's agent (Istio's pilot-agent, here ours) is not counted: a stock Envoy can do without.
  const proxyPid = (workload: string): number =>
    childNamed(pod(workload).containers.find((c) => c.name === "istio-proxy")!.pid!, "envoy");
  // The address at which the client's app reaches Service server: docs/contracts.md, explicit mode.
  const state = JSON.parse(readFileSync(join(stateDir, "platform.json"), "utf8")) as {
    items: {
      kind: string;
      metadata: { name: string; annotations?: Record<string, string> };
      spec: { parentRef?: { name: string } };
    }[];
  };
  const vip = state.items.find((i) => i.kind === "IPAddress" && i.spec.parentRef?.name === "server")!;
  const prefix = state.items.find((i) => i.metadata.name === pod("client").name)!.metadata.annotations?.[
    "weft.dev/service-prefix"
  ];
  const address = vip.metadata.name.replace(/^\d+\.\d+/, prefix!);
  return {
    plain: {
      target: { url: `http://${pod("gateway").podIp}:8080/bench` },
      pids: [proxyPid("gateway")],
    },
    pair: {
      target: { url: "http://server:8080/bench", connectTo: `${address}:8080` },
      pids: [proxyPid("client"), proxyPid("server")],
    },
    stop: () => platform.stop(),
  };
}
