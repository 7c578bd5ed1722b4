import { mkdtempSync, rmSync, statSync } from "node:fs";
import { request, type Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { OperationError, type Operations, serveControl } from "./control-socket.ts";

const dir = mkdtempSync(join(tmpdir(), "weft-control-"));
const socketPath = join(dir, "platform.sock");
let server: Server | undefined;
afterEach(() => {
  server?.close();
  rmSync(dir, { recursive: true, force: true });
});

test("the socket is its owner's alone, and refuses what it does not know", async () => {
  const asked: unknown[] = [];
  const say = (...what: unknown[]): never => {
    asked.push(what);
    throw new OperationError(409, "not now");
  };
  const operations: Operations = {
    status: () => say("status"),
    workload: (ref) => say("workload", ref),
    history: (ref) => say("history", ref),
    restart: (ref) => say("restart", ref),
    pause: (ref) => say("pause", ref),
    resume: (ref) => say("resume", ref),
    undo: (ref, request) => say("undo", ref, request),
    scale: (ref, { replicas }) => ({ message: `${ref.name} scaled to ${replicas}`, note: "" }),
    deletePod: (namespace, name) => say("delete", namespace, name),
  };
  server = await serveControl(socketPath, operations);
  expect(statSync(socketPath).mode & 0o777).toBe(0o600);
  const web = "/workloads/Deployment/default/web";
  expect(await ask("POST", `${web}/scale`, '{"replicas":3}')).toEqual([
    200,
    { message: "web scaled to 3", note: "" },
  ]);
  expect(await ask("POST", `${web}/undo`, "")).toEqual([409, { error: "not now" }]);
  expect(await ask("POST", `${web}/undo`, '{"toRevision":2}')).toEqual([409, { error: "not now" }]);
  expect(await ask("DELETE", "/pods/default/web-0")).toEqual([409, { error: "not now" }]);
  const ref = { kind: "Deployment", namespace: "default", name: "web" };
  expect(asked).toEqual([
    ["undo", ref, {}],
    ["undo", ref, { toRevision: 2 }],
    ["delete", "default", "web-0"],
  ]);
  const wrong: [string, string, string, number][] = [
    ["POST", `${web}/scale`, "{", 400],
    ["POST", `${web}/scale`, "[1]", 400],
    ["POST", `${web}/scale`, '{"replicas":"3"}', 422],
    ["POST", `${web}/scale`, '{"replicas":-1}', 422],
    ["POST", `${web}/scale`, '{"replicas":1,"size":2}', 400],
    ["POST", `${web}/scale`, JSON.stringify({ replicas: 1, long: "x".repeat(70_000) }), 413],
    ["GET", `${web}/restart`, "", 404],
    ["POST", `${web}/toString`, "", 404],
    ["GET", "/workloads/%ff/default/web", "", 400],
  ];
  for (const [method, path, body, status] of wrong)
    expect([path, body.slice(0, 30), (await ask(method, path, body))[0]]).toEqual([
      path,
      body.slice(0, 30),
      status,
    ]);
});

function ask(method: string, path: string, body = ""): Promise<[number | undefined, unknown]> {
  return new Promise((resolve, reject) => {
    const req = request({ socketPath, method, path, agent: false }, (res) => {
      let text = "";
      res.setEncoding("utf8").on("data", (piece: string) => {
        text += piece;
      });
      res.on("end", () => resolve([res.statusCode, JSON.parse(text)]));
    });
    req.on("error", reject);
    req.end(body);
  });
}
