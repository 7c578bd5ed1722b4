/** The supervisor's own socket, `<state directory>/platform.sock`: status and operations (docs/contracts.md). */
import { chmodSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, type Server } from "node:http";
import type {
  Done,
  PlatformStatus,
  Refused,
  RolloutHistory,
  ScaleRequest,
  UndoRequest,
  WorkloadStatus,
} from "./contract.ts";

/** A workload by kind ("Deployment"), namespace and name. */
export interface WorkloadRef {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
}

/** What can be asked of a platform. Each throws OperationError for what cannot be done. */
export interface Operations {
  status(): PlatformStatus;
  workload(ref: WorkloadRef): WorkloadStatus;
  history(ref: WorkloadRef): RolloutHistory;
  restart(ref: WorkloadRef): Done;
  pause(ref: WorkloadRef): Done;
  resume(ref: WorkloadRef): Done;
  undo(ref: WorkloadRef, request: UndoRequest): Done;
  scale(ref: WorkloadRef, request: ScaleRequest): Done;
  deletePod(namespace: string, name: string): Done;
}

/** For people; `status` is HTTP's: 404 there is none, 409 not now, 422 not for this kind or value. */
export class OperationError extends Error {
  override readonly name = "OperationError";
  readonly status: 400 | 404 | 409 | 413 | 422;

  constructor(status: OperationError["status"], message: string) {
    super(message);
    this.status = status;
  }
}

/** Longer than any request of ours. */
const MAX_BODY = 64 * 1024;

/** Opens the socket for the owner alone (0600). Rejects when it cannot be opened. */
export function serveControl(socketPath: string, operations: Operations): Promise<Server> {
  rmSync(socketPath, { force: true });
  const server = createServer((request, response) => {
    const send = (status: number, answer: unknown) =>
      response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(answer));
    const refuse = (status: number, error: string) => send(status, { error } satisfies Refused);
    answer(request, operations).then(
      (value) => send(200, value),
      (error: Error) => refuse(error instanceof OperationError ? error.status : 500, error.message),
    );
  });
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(socketPath, () => {
      chmodSync(socketPath, 0o600);
      server.unref();
      resolve(server);
    });
  });
}

async function answer(
  request: IncomingMessage,
  operations: Operations,
): Promise<PlatformStatus | WorkloadStatus | RolloutHistory | Done> {
  const path = new URL(request.url ?? "/", "http://localhost").pathname;
  const [head = "", ...rest] = path.slice(1).split("/").map(decode);
  const [kind = "", namespace = "", name = "", verb = ""] = rest;
  const ref: WorkloadRef = { kind, namespace, name };
  const places = rest.map((part, i) => (i === 3 ? part : "*"));
  switch (`${request.method} ${[head, ...places].join("/")}`) {
    case "GET status":
      return operations.status();
    case "GET workloads/*/*/*":
      return operations.workload(ref);
    case "GET workloads/*/*/*/history":
      return operations.history(ref);
    case "POST workloads/*/*/*/restart":
    case "POST workloads/*/*/*/pause":
    case "POST workloads/*/*/*/resume":
      return operations[verb as "restart" | "pause" | "resume"](ref);
    case "POST workloads/*/*/*/undo": {
      const { toRevision } = await body(request, ["toRevision"]);
      if (toRevision === undefined) return operations.undo(ref, {});
      return operations.undo(ref, { toRevision: wholeNumber("toRevision", toRevision) });
    }
    case "POST workloads/*/*/*/scale": {
      const { replicas } = await body(request, ["replicas"]);
      return operations.scale(ref, { replicas: wholeNumber("replicas", replicas) });
    }
    case "DELETE pods/*/*":
      return operations.deletePod(kind, namespace);
    default:
      throw new OperationError(404, `no such endpoint: ${request.method} ${path}`);
  }
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw new OperationError(400, `bad escape in the path: ${part}`);
  }
}

async function body(request: IncomingMessage, known: readonly string[]): Promise<Record<string, unknown>> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_BODY) throw new OperationError(413, `the body is larger than ${MAX_BODY} bytes`);
    chunks.push(chunk);
  }
  let value: unknown;
  try {
    value = size === 0 ? {} : JSON.parse(Buffer.concat(chunks).toString("utf8"));
  } catch {
    throw new OperationError(400, "the body is not JSON");
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new OperationError(400, "the body is not a JSON object");
  for (const key of Object.keys(value))
    if (!known.includes(key)) throw new OperationError(400, `unknown field ${JSON.stringify(key)}`);
  return value as Record<string, unknown>;
}

function wholeNumber(name: string, value: unknown): number {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0)
    throw new OperationError(
      422,
      `${name}: ${JSON.stringify(value) ?? "nothing"} is not a whole number from 0 up`,
    );
  return value;
}
