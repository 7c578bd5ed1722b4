import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parseAllDocuments } from "yaml";

const HOSTS = { details: "127.0.9.2", ratings: "127.0.9.3", reviews: "127.0.9.4", productpage: "127.0.9.5" };
const PORT = 19_080;
const children: ChildProcess[] = [];

function listening(host: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(PORT, host, () => {
      socket.destroy();
      resolve(true);
    });
    socket.on("error", () => resolve(false));
  });
}

beforeAll(async () => {
  for (const [name, host] of Object.entries(HOSTS)) {
    const env: Record<string, string> = {
      PATH: process.env["PATH"] ?? "",
      POD_IP: host,
      PORT: String(PORT),
      SERVICE_VERSION: name === "reviews" ? "v2" : "v1",
    };
    for (const [other, address] of Object.entries(HOSTS)) {
      env[`${other.toUpperCase()}_HOSTNAME`] = address;
      env[`${other.toUpperCase()}_SERVICE_PORT`] = String(PORT);
    }
    children.push(
      spawn(process.execPath, [join(import.meta.dirname, "services", `${name}.js`)], {
        env,
        stdio: "inherit",
      }),
    );
  }
  for (const host of Object.values(HOSTS)) while (!(await listening(host))) await delay(20);
});
afterAll(async () => {
  const exits = children.map((c) => new Promise((resolve) => c.once("exit", (code) => resolve(code))));
  for (const child of children) child.kill("SIGTERM");
  expect(await Promise.all(exits)).toEqual([0, 0, 0, 0]);
});

const base = `http://${HOSTS.productpage}:${PORT}`;

test("the page shows details, black stars, and which reviews answered", async () => {
  const html = await (await fetch(`${base}/productpage`)).text();
  expect(html).toContain('<b id="reviews-version">reviews-v2</b>');
  expect(html).toContain("William Shakespeare");
  expect(html).toContain('class="stars black">★★★★☆');
});

test("login sets a cookie that the page shows, escaped and limited; logout clears it", async () => {
  const login = await fetch(`${base}/login`, {
    method: "POST",
    body: new URLSearchParams({ username: "jason" }),
    redirect: "manual",
  });
  const cookie = login.headers.get("set-cookie")?.split(";")[0] ?? "";
  expect(cookie).toBe("user=jason");
  expect(await (await fetch(`${base}/productpage`, { headers: { cookie } })).text()).toContain(
    "Signed in as <b>jason</b>",
  );
  expect(
    await (await fetch(`${base}/productpage`, { headers: { cookie: "user=<script>" } })).text(),
  ).not.toContain("<script>");
  expect((await fetch(`${base}/logout`, { redirect: "manual" })).headers.get("set-cookie")).toContain(
    "Max-Age=0",
  );
});

test("the API answers products, details, reviews and ratings", async () => {
  expect(await (await fetch(`${base}/api/v1/products`)).json()).toHaveLength(1);
  expect(await (await fetch(`${base}/api/v1/products/0`)).json()).toMatchObject({
    author: "William Shakespeare",
  });
  expect(await (await fetch(`${base}/api/v1/products/0/reviews`)).json()).toMatchObject({ version: "v2" });
  expect(await (await fetch(`${base}/api/v1/products/0/ratings`)).json()).toEqual({
    id: 0,
    ratings: { Reviewer1: 5, Reviewer2: 4 },
  });
});

test("manifests parse, every selector finds a Deployment", () => {
  const docs = parseAllDocuments(readFileSync(join(import.meta.dirname, "platform.yaml"), "utf8")).map((d) =>
    d.toJS(),
  );
  const labels = docs.filter((d) => d.kind === "Deployment").map((d) => d.spec.template.metadata.labels.app);
  for (const service of docs.filter((d) => d.kind === "Service"))
    expect(labels).toContain(service.spec.selector.app);
});
