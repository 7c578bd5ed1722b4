import { createSocket, type RemoteInfo, type Socket } from "node:dgram";
import { once } from "node:events";
import { mkdtempSync, openSync, readFileSync, readSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { PlatformObject } from "../object.ts";
import type { PodFacts } from "../platform-state.ts";
import { questionName, serveNames } from "./dns.ts";
import { filesFirst, hostsFile, type Names, rewrite } from "./names.ts";
import { outsideAliases } from "./service-names.ts";

const pod = (name: string, n: number, namespace = "default", ready = true): PodFacts =>
  ({
    name,
    ready,
    address: { podIp: `10.244.0.${n}`, appIp: `10.244.1.${n}`, servicePrefix: "" },
    template: { namespace, labels: { app: name }, hostAliases: [], inject: true },
  }) as unknown as PodFacts;
const object = (kind: string, name: string, spec: object, namespace?: string): PlatformObject => ({
  apiVersion: "v1",
  kind,
  metadata: { name, ...(namespace === undefined ? {} : { namespace }) },
  spec,
});

test("hosts of a pod: short names of its own namespace, headless pods, entries that the proxy does not look up itself", () => {
  const names: Names = {
    objects: [
      object("Service", "reviews", { ports: [] }),
      object("Service", "pay", { ports: [] }, "shop"),
      object("Service", "db", { clusterIP: "None", selector: { app: "db" } }),
      object("Service", "outside", { type: "ExternalName", externalName: "example.com" }),
      object("ServiceEntry", "a", { hosts: ["a.example"], resolution: "STATIC", addresses: ["192.0.2.1"] }),
      object("ServiceEntry", "b", { hosts: ["b.example", "*.b.example"], resolution: "STATIC" }),
      object("ServiceEntry", "c", { hosts: ["c.example"], resolution: "DNS" }),
    ],
    pods: [pod("db", 30), pod("db", 31), pod("db", 32, "default", false), pod("db", 33, "shop")],
    vip: (key) => ({ "default/reviews": "10.96.0.10", "shop/pay": "10.96.0.11" })[key],
  };
  expect(hostsFile(pod("web", 20), names).split("\n").slice(2)).toEqual([
    "10.244.0.20 web",
    "10.244.255.254 host.weft.internal",
    "10.96.0.10 reviews reviews.default reviews.default.svc reviews.default.svc.cluster.local",
    "10.96.0.11 pay.shop pay.shop.svc pay.shop.svc.cluster.local",
    "10.244.0.30 db db.default db.default.svc db.default.svc.cluster.local",
    "10.244.0.31 db db.default db.default.svc db.default.svc.cluster.local",
    "192.0.2.1 a.example",
    "240.240.0.2 b.example",
    "",
  ]);
});

test("hosts of a pod: a StatefulSet's pods by each form of their names, aliases of Services, chains, no circles", () => {
  const alias = (name: string, externalName: string, namespace?: string) =>
    object("Service", name, { type: "ExternalName", externalName }, namespace);
  const stateful = (n: number, ready = true): PodFacts => {
    const p = pod("db", n, "default", ready);
    const labels = { ...p.template.labels, "statefulset.kubernetes.io/pod-name": `db-${n}` };
    return { ...p, template: { ...p.template, labels } };
  };
  const names: Names = {
    objects: [
      object("Service", "web", { ports: [] }),
      object("Service", "db", { clusterIP: "None", selector: { app: "db" } }),
      alias("short", "web"),
      alias("long", "web.default.svc.cluster.local."),
      alias("far", "web.default", "shop"),
      alias("chain", "long"),
      alias("store", "db.default.svc"),
      alias("round", "about"),
      alias("about", "round.default"),
      alias("outside", "example.com"),
    ],
    pods: [stateful(30), stateful(31, false)],
    vip: (key) => ({ "default/web": "10.96.0.10" })[key],
  };
  const all = (name: string, ns = "default") =>
    ["", ".svc", ".svc.cluster.local"].map((end) => `${name}.${ns}${end}`).join(" ");
  expect(hostsFile(pod("x", 20), names).split("\n").slice(4, -1)).toEqual([
    `10.96.0.10 web ${all("web")}`,
    `10.244.0.30 db ${all("db")}`,
    `10.244.0.30 db-30.db ${all("db-30.db")}`,
    `10.96.0.10 short ${all("short")}`,
    `10.96.0.10 long ${all("long")}`,
    `10.96.0.10 ${all("far", "shop")}`,
    `10.96.0.10 chain ${all("chain")}`,
    `10.244.0.30 store ${all("store")}`,
    `10.244.0.30 db-30.store ${all("db-30.store")}`,
  ]);
  expect(outsideAliases(names.objects)).toEqual([["outside.default.svc.cluster.local", "example.com"]]);
});

test("nsswitch.conf asks files first", () => {
  expect(filesFirst("passwd: files\nhosts: files dns\n")).toBeNull();
  expect(filesFirst("")).toBeNull();
  expect(filesFirst("hosts: mymachines resolve [!UNAVAIL=return] files dns\nnetworks: files\n")).toBe(
    "hosts: files dns\nnetworks: files\n",
  );
});

test("a file is rewritten in place: who has it open sees the new text", () => {
  const dir = mkdtempSync(join(tmpdir(), "wf-names-"));
  try {
    const file = join(dir, "hosts");
    rewrite(file, "a longer text\n");
    const fd = openSync(file, "r");
    rewrite(file, "short\n");
    const seen = Buffer.alloc(32);
    expect(seen.toString("utf8", 0, readSync(fd, seen))).toBe("short\n");
    expect(readFileSync(file, "utf8")).toBe("short\n");
  } finally {
    rmSync(dir, { recursive: true });
  }
});

/** www.example.com, type A */
const QUERY = "03777777076578616d706c6503636f6d0000010001";
const header = (id: string, flags: string): string => `${id}${flags}0001000000000000`;

test("the name that a DNS query asks for; garbage has none", () => {
  const query = Buffer.from(header("1234", "0100") + QUERY, "hex");
  expect(questionName(query)).toBe("www.example.com");
  for (let length = 0; length < query.length - 4; length++)
    expect(questionName(query.subarray(0, length))).toBeNull();
  const answer = Buffer.from(query);
  answer[2] = 0x81;
  expect(questionName(answer)).toBeNull();
});

test("queries go to the host's name server, answers back to who asked; cluster.local is answered here", async () => {
  const sockets = Array.from({ length: 4 }, () => createSocket("udp4").bind(0, "127.0.0.1"));
  await Promise.all(sockets.map((socket) => once(socket, "listening")));
  const [pods, host, server, client] = sockets as [Socket, Socket, Socket, Socket];
  try {
    serveNames(
      pods,
      host,
      [server.address()],
      () => new Map([["out.default.svc.cluster.local", "www.example.com"]]),
    );
    const ask = (hex: string): void => client.send(Buffer.from(hex, "hex"), pods.address().port, "127.0.0.1");
    ask(header("1234", "0100") + QUERY);
    const [asked, from] = (await once(server, "message")) as [Buffer, RemoteInfo];
    expect(asked.toString("hex", 2)).toBe(header("", "0100") + QUERY);
    const reply = Buffer.from(asked);
    reply[2] = 0x81;
    client.send(reply, from.port, from.address); // not the server: not believed
    server.send(reply, from.port, from.address);
    const [answer] = (await once(client, "message")) as [Buffer];
    expect(answer.toString("hex")).toBe(header("1234", "8100") + QUERY);

    // An alias: asked for its target, answered with a CNAME and the target's addresses.
    const encode = (name: string) =>
      `${name
        .split(".")
        .map((l) => l.length.toString(16).padStart(2, "0") + Buffer.from(l).toString("hex"))
        .join("")}00`;
    const alias = `${encode("out.default.svc.cluster.local")}00010001`;
    ask(header("2222", "0100") + alias);
    const [forTarget, back] = (await once(server, "message")) as [Buffer, RemoteInfo];
    expect(forTarget.toString("hex", 2)).toBe(header("", "0100") + QUERY);
    const addresses = Buffer.from(
      `${forTarget.toString("hex", 0, 2)}81800001000100000000${QUERY}c00c000100010000003c0004c0000207`,
      "hex",
    );
    server.send(addresses, back.port, back.address);
    const [aliased] = (await once(client, "message")) as [Buffer];
    const cname = "03777777076578616d706c6503636f6d00";
    const targetAt = (12 + alias.length / 2 + 12).toString(16).padStart(4, "0").replace(/^0/, "c");
    expect(aliased.toString("hex")).toBe(
      `222281800001000200000000${alias}c00c0005000100000005${(cname.length / 2).toString(16).padStart(4, "0")}${cname}${targetAt}000100010000003c0004c0000207`,
    );

    ask(`${header("abcd", "0100")}0162${"07636c7573746572056c6f63616c00"}00010001`);
    const [refused] = (await once(client, "message")) as [Buffer];
    expect(refused.toString("hex", 0, 4)).toBe("abcd8183");
  } finally {
    for (const socket of sockets) socket.close();
  }
});
