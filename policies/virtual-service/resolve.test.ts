import { describe, expect, test } from "vitest";
import { buildWorld, load, resolve, validate } from "../index.ts";

const pod = (name: string, ip: string, labels = ""): string => `
apiVersion: v1
kind: Pod
metadata: {name: ${name}, labels: {app: ${name}${labels}}}
spec: {containers: [{name: c, ports: [{containerPort: 80}]}]}
status: {phase: Running, podIP: ${ip}, conditions: [{type: Ready, status: "True"}]}
---`;
const service = (name: string, port: string): string => `
apiVersion: v1
kind: Service
metadata: {name: ${name}}
spec: {clusterIP: 10.96.0.${name.length}, selector: {app: ${name}}, ports: [${port}]}
---`;
const BASE =
  pod("page", "10.0.0.1") +
  pod("batch", "10.0.0.2") +
  pod("gate", "10.0.0.3") +
  pod("web", "10.0.0.4") +
  service("web", "{name: http, port: 80}") +
  service("other", "{name: http, port: 80}") +
  service("db", "{name: tcp, port: 5432}") +
  `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: door}
spec: {selector: {app: gate}, servers: [{port: {number: 80, protocol: HTTP}, hosts: ["*"]}]}
---`;

function virtualService(name: string, spec: string, created = ""): string {
  const age = created === "" ? "" : `, creationTimestamp: "${created}"`;
  return `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ${name}${age}}
spec: ${spec}
---`;
}

function worldOf(text: string) {
  const { objects, issues } = load(BASE + text, "t.yaml");
  expect(issues).toEqual([]);
  return buildWorld(objects);
}
/** Where the routes of `web` lead for a client: "path -> host". */
function routes(text: string, client = "page"): string[] {
  const world = worldOf(text);
  const ir = resolve(world, world.workloads.find((w) => w.pod === client)!);
  const hosts =
    ir.kind === "gateway" ? ir.gatewayListeners[0]!.virtualHosts : ir.outboundHttp[0]!.virtualHosts;
  const host = hosts.find((h) => h.domains.some((d) => d === "web" || d === "web.example"));
  return (host?.routes ?? []).map(({ match, action }) => {
    const to = action.kind === "forward" ? action.destinations[0]!.cluster.host.split(".")[0] : action.kind;
    return `${match.path?.kind ?? "any"} ${match.path?.value ?? ""} -> ${to}`.replace("  ", " ");
  });
}
const issuesOf = (text: string) =>
  validate(worldOf(text)).map((i) => `${i.level} ${i.code} ${i.object.split("/")[1]} ${i.path}`);

const to = (host: string): string => `route: [{destination: {host: ${host}}}]`;

describe("a policy that concerns others does not speak", () => {
  test.for([
    ["sourceLabels", "sourceLabels: {app: batch}"],
    ["sourceNamespace", "sourceNamespace: elsewhere"],
    ["a gateway", "gateways: [door]"],
    ["another port", "port: 8080"],
  ])("%s: the service's default holds", ([, condition]) => {
    const vs = virtualService(
      "web",
      `{hosts: [web], gateways: [mesh, door], http: [{match: [{${condition}}], ${to("other")}}]}`,
    );
    expect(routes(vs)).toEqual(["any -> web"]);
  });

  test("whom it does concern it speaks to", () => {
    const vs = virtualService(
      "web",
      `{hosts: [web], http: [{match: [{sourceLabels: {app: batch}}], ${to("other")}}]}`,
    );
    expect(routes(vs, "batch")).toEqual(["any -> other"]);
  });

  test("the next VirtualService of the host is asked", () => {
    const first = virtualService(
      "a",
      `{hosts: [web], http: [{match: [{sourceLabels: {app: batch}}], ${to("web")}}]}`,
    );
    const second = virtualService("b", `{hosts: [web], http: [{${to("other")}}]}`);
    expect(routes(first + second)).toEqual(["any -> other"]);
    expect(routes(first + second, "batch")).toEqual(["any -> web"]);
  });

  test("tcp rules of others leave the service's own destination", () => {
    const text = virtualService(
      "db",
      `{hosts: [db], tcp: [{match: [{sourceLabels: {app: batch}}], ${to("other")}}]}`,
    );
    const destination = (client: string) => {
      const world = worldOf(text);
      const ir = resolve(world, world.workloads.find((w) => w.pod === client)!);
      return ir.tcpServices[0]!.destinations[0]!.cluster.host;
    };
    expect(destination("page")).toBe("db.default.svc.cluster.local");
    expect(destination("batch")).toBe("other.default.svc.cluster.local");
  });

  test("at a gateway a silent policy leaves the host to a wider one", () => {
    const silent = virtualService(
      "silent",
      `{hosts: [web.example], gateways: [door], http: [{match: [{port: 8080}], ${to("other")}}]}`,
    );
    const world = worldOf(
      silent + virtualService("wide", `{hosts: ["*"], gateways: [door], http: [{${to("web")}}]}`),
    );
    const ir = resolve(world, world.workloads.find((w) => w.pod === "gate")!);
    expect(ir.gatewayListeners[0]!.virtualHosts.flatMap((h) => h.domains)).toEqual(["*"]);
  });
});

describe("several VirtualServices of one host", () => {
  const at = (name: string, match: string, host: string, created: string) =>
    virtualService(name, `{hosts: [web.example], gateways: [door], http: [{${match}${to(host)}}]}`, created);
  const OLD = "2026-01-01T00:00:00Z";
  const NEW = "2026-01-01T01:00:00+00:30"; // half an hour later
  test.for(["match: [{uri: {prefix: /}}], ", "", "match: [{}], ", 'match: [{uri: {regex: ".*"}}], '])(
    "at a gateway what takes everything goes to the end: %s",
    (all) => {
      const text = at("a", all, "web", OLD) + at("b", "match: [{uri: {prefix: /api}}], ", "other", NEW);
      expect(routes(text, "gate").map((r) => r.split(" -> ")[1])).toEqual(["other", "web"]);
    },
  );

  test("a prefix / with a condition of its own keeps its place", () => {
    const all = "match: [{uri: {prefix: /}, headers: {x: {exact: yes-it-is}}}], ";
    const text = at("a", all, "web", OLD) + at("b", "match: [{uri: {prefix: /api}}], ", "other", NEW);
    expect(routes(text, "gate")).toEqual(["prefix / -> web", "prefix /api -> other"]);
  });

  test("in the mesh the oldest has the host; time counts as time, not as text, and then the name", () => {
    const mesh = (name: string, host: string, created: string) =>
      virtualService(name, `{hosts: [web], http: [{${to(host)}}]}`, created);
    expect(routes(mesh("a", "other", NEW) + mesh("b", "web", OLD))).toEqual(["any -> web"]);
    expect(routes(mesh("b", "other", "") + mesh("a", "web", ""))).toEqual(["any -> web"]);
    expect(routes(mesh("a", "other", "2026-01-01T00:00:00.5Z") + mesh("b", "web", OLD))).toEqual([
      "any -> web",
    ]);
    expect(issuesOf(mesh("a", "other", NEW) + mesh("b", "web", OLD))).toEqual([
      "warning conflicting-host a spec.hosts[0]",
    ]);
  });
});

test.for<[a: string, b: string, conflict: boolean]>([
  ["", "", true],
  ["['*']", "[default]", true],
  ["['.']", "['.']", true],
  ["['.']", "[elsewhere]", false],
  ["[a, b]", "[b]", true],
])("two VirtualServices of one host, exported to %s and %s: told %s", ([a, b, conflict]) => {
  const vs = (name: string, exportTo: string) =>
    virtualService(
      name,
      `{hosts: [web], ${exportTo === "" ? "" : `exportTo: ${exportTo}, `}http: [{${to("web")}}]}`,
    );
  expect(issuesOf(vs("a", a) + vs("b", b))).toEqual(
    conflict ? ["warning conflicting-host b spec.hosts[0]"] : [],
  );
});

test("a gateway serves what is exported to its namespace", () => {
  const vs = (exportTo: string) =>
    virtualService(
      "v",
      `{hosts: [web.example], gateways: [door], exportTo: ${exportTo}, http: [{${to("web")}}]}`,
    );
  for (const exportTo of ["['.']", "['*']", "[default]"])
    expect(routes(vs(exportTo), "gate")).toEqual(["any -> web"]);
  const world = worldOf(vs("[elsewhere]"));
  const ir = resolve(world, world.workloads.find((w) => w.pod === "gate")!);
  expect(ir.gatewayListeners.flatMap((l) => l.virtualHosts)).toEqual([]);
});

describe("delegates", () => {
  const root = (match: string, more = "") =>
    virtualService("root", `{hosts: [web], http: [{${match}delegate: {name: part}${more}}, {${to("web")}}]}`);
  const part = (rules: string) => virtualService("part", `{http: [${rules}]}`);
  const rule = (match: string, more = "") => `{match: [${match}], ${to("other")}${more}}`;

  test.for<[root: string, leaf: string, merged: string | null]>([
    ["{uri: {exact: /front}}", "{uri: {exact: /front}}", "exact /front"],
    ["{uri: {exact: /front}}", "{uri: {exact: /back}}", null],
    ["{uri: {exact: /front}}", "{uri: {prefix: /front}}", null],
    ["{uri: {exact: /front}}", "{}", "exact /front"],
    ["{uri: {prefix: /a}}", "{uri: {prefix: /a}}", "prefix /a"],
    ["{uri: {prefix: /a}}", "{uri: {prefix: /a/b}}", "prefix /a/b"],
    ["{uri: {prefix: /a}}", "{uri: {exact: /a/b}}", "exact /a/b"],
    ["{uri: {prefix: /a}}", "{uri: {prefix: /}}", null],
    ["{uri: {prefix: /a}}", "{uri: {regex: /a.*}}", null],
    ["{uri: {regex: /a.*}}", "{uri: {regex: /a.*}}", "regex /a.*"],
    ["{uri: {regex: /a.*}}", "{uri: {exact: /ab}}", null],
    ["{uri: {regex: /a.*}}", "{headers: {x: {}}}", "regex /a.*"],
    ["{uri: {exact: /A}, ignoreUriCase: true}", "{uri: {exact: /a}, ignoreUriCase: true}", "exact /a"],
    ["{uri: {exact: /a}, ignoreUriCase: true}", "{uri: {exact: /a}}", null],
    ["{method: {exact: GET}}", "{method: {exact: POST}, uri: {prefix: /p}}", null],
    ["{headers: {x: {prefix: a}}}", "{headers: {x: {exact: ab}}, uri: {prefix: /p}}", "prefix /p"],
    ["{headers: {x: {exact: a}}}", "{headers: {x: {exact: b}}, uri: {prefix: /p}}", null],
    ["{queryParams: {q: {exact: a}}}", "{queryParams: {q: {exact: b}}, uri: {prefix: /p}}", null],
    ["{sourceLabels: {app: page}}", "{sourceLabels: {app: batch}, uri: {prefix: /p}}", null],
    ["{sourceNamespace: default}", "{sourceNamespace: other, uri: {prefix: /p}}", null],
    ["{port: 80}", "{port: 81, uri: {prefix: /p}}", null],
  ])("root %s, delegate %s: %s", ([outer, inner, merged]) => {
    const text = root(`match: [${outer}], `) + part(rule(inner));
    expect(routes(text)).toEqual([...(merged === null ? [] : [`${merged} -> other`]), "any -> web"]);
    expect(issuesOf(text)).toEqual(merged === null ? ["warning outside-of-root part spec.http[0]"] : []);
  });

  test("every pair that fits; one match that fits nowhere takes its rule along, as in Istio", () => {
    const outer = "match: [{uri: {prefix: /a}}, {uri: {prefix: /b}}], ";
    expect(routes(root(outer) + part(rule("{uri: {prefix: /a/1}}, {uri: {prefix: /b/1}}")))).toEqual([
      "prefix /a/1 -> other",
      "prefix /b/1 -> other",
      "any -> web",
    ]);
    expect(
      routes(
        root(outer) +
          part(`${rule("{uri: {prefix: /a/1}}, {uri: {prefix: /c}}")}, ${rule("{uri: {prefix: /b/2}}")}`),
      ),
    ).toEqual(["prefix /b/2 -> other", "any -> web"]);
  });

  test("conditions of both hold: of one header the narrower, of what is excluded the wider", () => {
    const text =
      root("match: [{headers: {a: {exact: x}, b: {}}, withoutHeaders: {c: {}}}], ") +
      part(rule("{headers: {a: {}, b: {exact: yes-it-is}}, withoutHeaders: {c: {exact: z}}}"));
    const world = worldOf(text);
    const ir = resolve(world, world.workloads[0]!);
    expect(ir.outboundHttp[0]!.virtualHosts[0]!.routes[0]!.match.headers).toMatchObject([
      { name: "a", match: { kind: "exact", value: "x" } },
      { name: "b", match: { kind: "exact", value: "yes-it-is" } },
      { name: "c", match: { kind: "present" }, invert: true },
    ]);
  });

  test("what the delegate does not set it has from the root", () => {
    const inherited = `, timeout: 1s, retries: {attempts: 7}, headers: {request: {set: {x: root}}},
      rewrite: {uri: /r}, fault: {abort: {httpStatus: 500}}, name: outer`;
    const first = (rules: string) => {
      const world = worldOf(root("match: [{uri: {prefix: /}}], ", inherited) + part(rules));
      return resolve(world, world.workloads[0]!).outboundHttp[0]!.virtualHosts[0]!.routes[0]!;
    };
    expect(first(rule("{uri: {prefix: /a}}"))).toMatchObject({
      name: "outer",
      action: { timeoutMs: 1000, retry: { attempts: 7 }, rewritePath: { value: "/r" } },
      requestHeaders: { set: [["x", "root"]] },
      fault: { abort: { status: 500 } },
    });
    const own = `, name: inner, timeout: 2s, retries: {attempts: 0}, headers: {response: {remove: [z]}},
      rewrite: {authority: other.example}, fault: {delay: {fixedDelay: 1s}}`;
    expect(first(rule("{uri: {prefix: /a}}", own))).toMatchObject({
      name: "outer-inner",
      action: { timeoutMs: 2000, retry: null, rewritePath: null, rewriteHost: "other.example" },
      requestHeaders: null,
      fault: { abort: null, delay: { ms: 1000 } },
    });
  });

  test("who cannot be a delegate is told", () => {
    const text = (other: string) => issuesOf(root("") + virtualService("part", other));
    expect(text(`{hosts: [other], http: [{${to("other")}}]}`)).toEqual([
      "error not-a-delegate root spec.http[0].delegate",
    ]);
    expect(text(`{exportTo: [elsewhere], http: [{${to("other")}}]}`)).toEqual([
      "error not-a-delegate root spec.http[0].delegate",
    ]);
    expect(text("{http: [{delegate: {name: part}}]}")).toContain(
      "error nested-delegate root spec.http[0].delegate",
    );
    expect(text(`{gateways: [door], http: [{${to("other")}}]}`)).toContain(
      "warning not-carried-out part spec.gateways",
    );
    expect(issuesOf(root(""))).toEqual(["error unknown-delegate root spec.http[0].delegate"]);
  });
});

describe("what leads nowhere is told", () => {
  test.for([
    [
      "http",
      `http: [{route: [{destination: {host: web, port: {number: 81}}}]}]`,
      "unknown-port web spec.http[0].route[0].destination.port.number",
    ],
    [
      "http",
      `http: [{route: [{destination: {host: web, subset: v9}}]}]`,
      "unknown-subset web spec.http[0].route[0].destination.subset",
    ],
    [
      "short form of another namespace",
      `http: [{route: [{destination: {host: web.default}}]}]`,
      "unknown-host web spec.http[0].route[0].destination.host",
    ],
    ["tcp rules on an HTTP port", `tcp: [{${to("web")}}]`, "wrong-protocol web spec.hosts[0]"],
  ])("%s: %s", ([, rules, issue]) => {
    expect(issuesOf(virtualService("web", `{hosts: [web], ${rules}}`))).toEqual([`warning ${issue}`]);
  });
});

test("one changed VirtualService leaves the hosts of the others, and of its services, what they were", () => {
  const texts = [
    virtualService("web", `{hosts: [web], http: [{${to("other")}}]}`),
    virtualService("away", `{hosts: [away.example], http: [{${to("other")}}]}`),
    virtualService("more", `{hosts: [more.example], http: [{${to("other")}}]}`),
  ].map((text, i) => load(text, `${i}.yaml`).objects);
  const base = load(BASE, "base.yaml").objects;
  const before = buildWorld([...base, ...texts.flat()]);
  const after = buildWorld([...base, ...texts.slice(0, 2).flat()], before.mesh, before);
  const hosts = (world: typeof before) =>
    new Map(resolve(world, world.workloads[0]!).outboundHttp[0]!.virtualHosts.map((h) => [h.domains[0]!, h]));
  const [old, now] = [hosts(before), hosts(after)];
  expect([...now.keys()]).toEqual([...old.keys()].filter((d) => d !== "more.example"));
  for (const [domain, host] of now) expect(host, domain).toBe(old.get(domain));
});
