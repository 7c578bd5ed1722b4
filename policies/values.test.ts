/** Values that no proxy could carry are refused at load, with the field; what Istio takes is taken. */
import { expect, test } from "vitest";
import { buildWorld, load, validate } from "./index.ts";

const http = (rule: string) =>
  `apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v}\nspec:\n  hosts: [shop]\n  http:\n    - ${rule}\n`;
const route = "route: [{destination: {host: shop}}]";
const withRoute = (more: string) => http(`{${route}, ${more}}`);
const kind = (group: string, name: string, spec: string) =>
  `apiVersion: ${group}/v1\nkind: ${name}\nmetadata: {name: x}\nspec: ${spec}\n`;
const rule = (policy: string) =>
  kind("networking.istio.io", "DestinationRule", `{host: shop, trafficPolicy: ${policy}}`);
const httpRoute = (filters: string, more = "") =>
  kind(
    "gateway.networking.k8s.io",
    "HTTPRoute",
    `{parentRefs: [{name: g}], rules: [{filters: [${filters}]${more}}]}`,
  );
const entry = (spec: string) =>
  kind(
    "networking.istio.io",
    "ServiceEntry",
    `{hosts: [a.example], ports: [{number: 80, name: http}], ${spec}}`,
  );

function issues(text: string): string[] {
  return load(text, "v.yaml").issues.map((i) => `${i.level} ${i.path}: ${i.message}`);
}

test.each([
  // Header names and values
  ['headers: {request: {set: {x-share: "50%"}}}', "spec.http[0].headers.request.set.x-share"],
  ['headers: {request: {add: {x: "%START_TIME%"}}}', "spec.http[0].headers.request.add.x"],
  ['headers: {request: {add: {x: "%REQ%"}}}', "spec.http[0].headers.request.add.x"],
  ['headers: {request: {add: {x: "%%%"}}}', "spec.http[0].headers.request.add.x"],
  ['headers: {response: {set: {x: "a\\r\\nb: c"}}}', "spec.http[0].headers.response.set.x"],
  ['headers: {response: {set: {"x y": a}}}', "spec.http[0].headers.response.set.x y"],
  ['headers: {response: {set: {"x\\r\\n": a}}}', "spec.http[0].headers.response.set.x\r\n"],
  ['headers: {request: {set: {"": a}}}', "spec.http[0].headers.request.set."],
  ["headers: {request: {set: {Content-Length: '0'}}}", "spec.http[0].headers.request.set.Content-Length"],
  ["headers: {request: {add: {te: trailers}}}", "spec.http[0].headers.request.add.te"],
  ["headers: {request: {remove: [Connection]}}", "spec.http[0].headers.request.remove[0]"],
  ["headers: {request: {remove: [host]}}", "spec.http[0].headers.request.remove[0]"],
  ['headers: {request: {set: {":path": /x}}}', "spec.http[0].headers.request.set.:path"],
  ["headers: {request: {set: {Host: a b}}}", "spec.http[0].headers.request.set.Host"],
  [
    "headers: {request: {set: {Host: a.example}, add: {':authority': b.example}}}",
    "spec.http[0].headers.request.add.:authority",
  ],
  [
    "headers: {request: {set: {Host: a.example}}}, rewrite: {authority: b.example}",
    "spec.http[0].rewrite.authority",
  ],
  ["headers: {response: {set: {Host: a}}}", "spec.http[0].headers.response.set.Host"],
  ['headers: {response: {set: {":status": "200"}}}', "spec.http[0].headers.response.set.:status"],
  [
    "headers: {response: {set: {transfer-encoding: chunked}}}",
    "spec.http[0].headers.response.set.transfer-encoding",
  ],
  // Matches
  ['match: [{headers: {x-user: {prefix: ""}}}]', "spec.http[0].match[0].headers.x-user.prefix"],
  ['match: [{headers: {x-user: {regex: ""}}}]', "spec.http[0].match[0].headers.x-user.regex"],
  ['match: [{headers: {x-user: {regex: "*"}}}]', "spec.http[0].match[0].headers.x-user.regex"],
  ['match: [{withoutHeaders: {x-user: {prefix: ""}}}]', "spec.http[0].match[0].withoutHeaders.x-user.prefix"],
  ['match: [{queryParams: {q: {prefix: ""}}}]', "spec.http[0].match[0].queryParams.q.prefix"],
  ['match: [{queryParams: {"": {exact: a}}}]', "spec.http[0].match[0].queryParams."],
  ['match: [{method: {regex: "("}}]', "spec.http[0].match[0].method.regex"],
  ['match: [{uri: {regex: ""}}]', "spec.http[0].match[0].uri.regex"],
  ['match: [{uri: {prefix: "/a\\nb"}}]', "spec.http[0].match[0].uri.prefix"],
  ['match: [{headers: {"x:": {exact: a}}}]', "spec.http[0].match[0].headers.x:"],
  ['match: [{headers: {x: {exact: "a\\0"}}}]', "spec.http[0].match[0].headers.x.exact"],
  ["match: [{sourceNamespace: a_b}]", "spec.http[0].match[0].sourceNamespace"],
  ["match: [{port: 0}]", "spec.http[0].match[0].port"],
  ["match: [{gateways: [a/b/c]}]", "spec.http[0].match[0].gateways[0]"],
  // Rewrites
  ['rewrite: {uri: "/a\\r\\nHost: b"}', "spec.http[0].rewrite.uri"],
  ["rewrite: {uri: a}", "spec.http[0].rewrite.uri"],
  ['rewrite: {uri: "/a b"}', "spec.http[0].rewrite.uri"],
  ['rewrite: {uri: "/a#b"}', "spec.http[0].rewrite.uri"],
  ['rewrite: {authority: "a\\r\\nb"}', "spec.http[0].rewrite.authority"],
  ["rewrite: {authority: 'a:99999'}", "spec.http[0].rewrite.authority"],
  ["rewrite: {}", "spec.http[0].rewrite"],
  [
    "rewrite: {uriRegexRewrite: {match: '^/old/(.*)$', rewrite: '\\1'}}",
    "spec.http[0].rewrite.uriRegexRewrite",
  ],
  [
    "rewrite: {uriRegexRewrite: {match: '^/a(/.*)?$', rewrite: '\\1'}}",
    "spec.http[0].rewrite.uriRegexRewrite",
  ],
  [
    "rewrite: {uriRegexRewrite: {match: '^/a((/b)?.*)$', rewrite: '\\2'}}",
    "spec.http[0].rewrite.uriRegexRewrite",
  ],
  ["rewrite: {uriRegexRewrite: {match: '/a', rewrite: 'b'}}", "spec.http[0].rewrite.uriRegexRewrite"],
  ["rewrite: {uriRegexRewrite: {match: '^.*$', rewrite: ''}}", "spec.http[0].rewrite.uriRegexRewrite"],
  ["rewrite: {uriRegexRewrite: {match: 'x*', rewrite: 'y'}}", "spec.http[0].rewrite.uriRegexRewrite"],
  ["rewrite: {uriRegexRewrite: {match: '/a', rewrite: '/b c'}}", "spec.http[0].rewrite.uriRegexRewrite"],
  ["rewrite: {uriRegexRewrite: {match: '/(a)', rewrite: '/\\2'}}", "spec.http[0].rewrite.uriRegexRewrite"],
  ["rewrite: {uri: /a, uriRegexRewrite: {match: /a, rewrite: /b}}", "spec.http[0].rewrite"],
  // Times, numbers
  ["timeout: 99999999h", "spec.http[0].timeout"],
  ["timeout: -1s", "spec.http[0].timeout"],
  ["timeout: 1.5ms", "spec.http[0].timeout"],
  ["timeout: 10", "spec.http[0].timeout"],
  ["timeout: 1d", "spec.http[0].timeout"],
  ["retries: {attempts: -1}", "spec.http[0].retries.attempts"],
  ["retries: {attempts: 1, retryOn: '5xx,often'}", "spec.http[0].retries.retryOn"],
  ["retries: {attempts: 1, retryOn: '5xx,999'}", "spec.http[0].retries.retryOn"],
  ["retries: {attempts: 1, backoff: 0s}", "spec.http[0].retries.backoff"],
  ["retries: {attempts: 0, perTryTimeout: 1s}", "spec.http[0].retries"],
  ["fault: {delay: {fixedDelay: 0s}}", "spec.http[0].fault.delay.fixedDelay"],
  [
    "fault: {delay: {fixedDelay: 1s, percentage: {value: 0.00001}}}",
    "spec.http[0].fault.delay.percentage.value",
  ],
  [
    "fault: {delay: {fixedDelay: 1s, percentage: {value: .nan}}}",
    "spec.http[0].fault.delay.percentage.value",
  ],
  [
    "fault: {delay: {fixedDelay: 1s, percentage: {value: .inf}}}",
    "spec.http[0].fault.delay.percentage.value",
  ],
  ["fault: {abort: {httpStatus: 600}}", "spec.http[0].fault.abort.httpStatus"],
  ["fault: {abort: {httpStatus: 199}}", "spec.http[0].fault.abort.httpStatus"],
  ["fault: {}", "spec.http[0].fault"],
])("of a route is refused: %s", (text, path) => {
  expect(issues(withRoute(text))).toEqual([expect.stringContaining(`error ${path}: `)]);
});

test.each([
  ["{route: []}", "spec.http[0].route"],
  [
    "{route: [{destination: {host: a}, weight: 0}, {destination: {host: b}, weight: 0}]}",
    "spec.http[0].route",
  ],
  ["{route: [{destination: {host: a}}, {destination: {host: b}}]}", "spec.http[0].route"],
  [
    "{route: [{destination: {host: a}, weight: 2147483647}, {destination: {host: b}, weight: 2147483647}, {destination: {host: c}, weight: 2}]}",
    "spec.http[0].route",
  ],
  ["{route: [{destination: {host: a}, weight: -1}]}", "spec.http[0].route[0].weight"],
  ['{route: [{destination: {host: "*"}}]}', "spec.http[0].route[0].destination.host"],
  ["{route: [{destination: {host: a, subset: A_b}}]}", "spec.http[0].route[0].destination.subset"],
  [
    "{route: [{destination: {host: a, port: {number: 99999}}}]}",
    "spec.http[0].route[0].destination.port.number",
  ],
  ["{route: [{destination: {host: ':'}}]}", "spec.http[0].route[0].destination.host"],
  ["{redirect: {}}", "spec.http[0].redirect"],
  ["{redirect: {uri: a}}", "spec.http[0].redirect.uri"],
  ['{redirect: {uri: "/a\\r\\nSet-Cookie: b"}}', "spec.http[0].redirect.uri"],
  ['{redirect: {authority: "a\\r\\nb"}}', "spec.http[0].redirect.authority"],
  ["{redirect: {scheme: ftp}}", "spec.http[0].redirect.scheme"],
  ["{redirect: {redirectCode: 304, uri: /a}}", "spec.http[0].redirect.redirectCode"],
  ["{redirect: {uri: /a}, rewrite: {uri: /b}}", "spec.http[0].rewrite"],
  ["{match: [{uri: {exact: /a}}], redirect: {prefixRewrite: /b}}", "spec.http[0].match[0].uri"],
  ["{directResponse: {status: 600}}", "spec.http[0].directResponse.status"],
  ["{directResponse: {status: 100}}", "spec.http[0].directResponse.status"],
  ["{directResponse: {status: 204, body: {string: a}}}", "spec.http[0].directResponse"],
  [
    `{directResponse: {status: 200, body: {string: ${"a".repeat(1_048_577)}}}}`,
    "spec.http[0].directResponse",
  ],
  ["{directResponse: {status: 200}, fault: {abort: {httpStatus: 500}}}", "spec.http[0].fault"],
])("is refused: %s", (text, path) => {
  expect(issues(http(text))).toEqual([expect.stringContaining(`error ${path}: `)]);
});

test.each([
  [
    "connectionPool",
    "{connectionPool: {tcp: {maxConnections: 4294967296}}}",
    "connectionPool.tcp.maxConnections",
  ],
  ["connectionPool", "{connectionPool: {tcp: {maxConnections: 1.5}}}", "connectionPool.tcp.maxConnections"],
  ["connectionPool", "{connectionPool: {tcp: {connectTimeout: 0s}}}", "connectionPool.tcp.connectTimeout"],
  [
    "connectionPool",
    "{connectionPool: {tcp: {tcpKeepalive: {time: 10h}}}}",
    "connectionPool.tcp.tcpKeepalive.time",
  ],
  [
    "connectionPool",
    "{connectionPool: {tcp: {tcpKeepalive: {probes: 128}}}}",
    "connectionPool.tcp.tcpKeepalive.probes",
  ],
  ["connectionPool", "{connectionPool: {}}", "connectionPool"],
  [
    "outlierDetection",
    "{outlierDetection: {maxEjectionPercent: 50.5}}",
    "outlierDetection.maxEjectionPercent",
  ],
  ["outlierDetection", "{outlierDetection: {interval: 0s}}", "outlierDetection.interval"],
  ["outlierDetection", "{outlierDetection: {consecutiveLocalOriginFailures: 1}}", "outlierDetection"],
  ["tls", "{tls: {}}", "tls.mode"],
  ["tls", "{tls: {mode: SIMPLE, sni: '*'}}", "tls.sni"],
  ["tls", "{tls: {mode: ISTIO_MUTUAL, subjectAltNames: ['']}}", "tls.subjectAltNames[0]"],
  ["portLevelSettings", "{portLevelSettings: [{port: {number: 80}}]}", "portLevelSettings[0]"],
])("of a DestinationRule's %s is refused: %s", (_, text, path) => {
  expect(issues(rule(text))).toEqual([expect.stringContaining(`error spec.trafficPolicy.${path}: `)]);
});

test.each([
  [
    kind("networking.istio.io", "DestinationRule", "{host: a, subsets: [{name: v1}, {name: v1}]}"),
    "spec.subsets",
  ],
  [
    kind("networking.istio.io", "DestinationRule", "{host: a, subsets: [{name: v|1}]}"),
    "spec.subsets[0].name",
  ],
  [kind("networking.istio.io", "DestinationRule", "{host: a, exportTo: ['*', '.']}"), "spec.exportTo"],
  [kind("networking.istio.io", "DestinationRule", "{host: a, exportTo: [a_b]}"), "spec.exportTo[0]"],
  [kind("networking.istio.io", "Gateway", "{servers: []}"), "spec.servers"],
  [
    kind(
      "networking.istio.io",
      "Gateway",
      "{servers: [{port: {number: 80, protocol: HTTP}, hosts: ['a b']}]}",
    ),
    "spec.servers[0].hosts[0]",
  ],
  [
    kind(
      "networking.istio.io",
      "Gateway",
      "{servers: [{port: {number: 80, protocol: HTTP}, hosts: [a_b/c.example]}]}",
    ),
    "spec.servers[0].hosts[0]",
  ],
  [
    kind("networking.istio.io", "Gateway", "{servers: [{port: {number: 0, protocol: HTTP}, hosts: [a]}]}"),
    "spec.servers[0].port.number",
  ],
  [
    kind(
      "networking.istio.io",
      "VirtualService",
      "{hosts: [a], tcp: [{route: [{destination: {host: a}}, {destination: {host: b}}]}]}",
    ),
    "spec.tcp[0].route",
  ],
  [
    kind(
      "networking.istio.io",
      "VirtualService",
      "{hosts: [a], tls: [{match: [{sniHosts: [a]}], route: []}]}",
    ),
    "spec.tls[0].route",
  ],
  [
    kind(
      "networking.istio.io",
      "VirtualService",
      "{hosts: [a], tls: [{match: [], route: [{destination: {host: a}}]}]}",
    ),
    "spec.tls[0].match",
  ],
  [entry("addresses: [10.0.0.0/33]"), "spec.addresses[0]"],
  [entry("addresses: [a.example]"), "spec.addresses[0]"],
  [entry("resolution: STATIC, endpoints: [{address: a.example}]"), "spec.endpoints[0].address"],
  [entry("resolution: DNS, endpoints: [{address: 'a b'}]"), "spec.endpoints[0].address"],
  [
    entry("resolution: STATIC, endpoints: [{address: 1.2.3.4, ports: {tcp: 1}}]"),
    "spec.endpoints[0].ports.tcp",
  ],
  [entry("endpoints: [{address: 1.2.3.4}]"), "spec.endpoints"],
  [
    kind("networking.istio.io", "ServiceEntry", "{hosts: ['*'], ports: [{number: 80, name: http}]}"),
    "spec.hosts[0]",
  ],
  [
    kind(
      "networking.istio.io",
      "ServiceEntry",
      "{hosts: [a.example], ports: [{number: 80, name: a}, {number: 80, name: b}]}",
    ),
    "spec.ports",
  ],
  [
    httpRoute("{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: 'a b', value: c}]}}"),
    "spec.rules[0].filters[0].requestHeaderModifier.set[0].name",
  ],
  [
    httpRoute('{type: ResponseHeaderModifier, responseHeaderModifier: {add: [{name: a, value: "b\\nc"}]}}'),
    "spec.rules[0].filters[0].responseHeaderModifier.add[0].value",
  ],
  [
    httpRoute("{type: ResponseHeaderModifier, responseHeaderModifier: {remove: [Content-Length]}}"),
    "spec.rules[0].filters[0].responseHeaderModifier.remove[0]",
  ],
  [
    httpRoute('{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: "/a b"}}}'),
    "spec.rules[0].filters[0].urlRewrite.path.replaceFullPath",
  ],
  [
    httpRoute("", ", matches: [{headers: [{name: 'a b', value: c}]}]"),
    "spec.rules[0].matches[0].headers[0].name",
  ],
  [httpRoute("", ", timeouts: {request: 1s, backendRequest: 2s}"), "spec.rules[0].timeouts"],
])("is refused: %s", (text, path) => {
  expect(issues(text)).toEqual([expect.stringContaining(`error ${path}: `)]);
});

test.each([
  'headers: {request: {set: {x-share: "50%%", y: "%REQ(x-user?:path)% %HOSTNAME%"}, remove: [x]}, response: {add: {date: now}}}',
  "headers: {request: {set: {Host: 'other.example:8080'}}}",
  'match: [{headers: {x-user: {}, y: {exact: ""}}, withoutHeaders: {z: {regex: "*"}}, uri: {prefix: ""}}]',
  "timeout: 0s",
  "timeout: 8760h",
  "timeout: 1h1.5s",
  "retries: {attempts: 3, perTryTimeout: 2s, retryOn: 'connect-failure,refused-stream,503'}",
  "rewrite: {uri: '/v2?x=1', authority: a.example}",
  "rewrite: {uriRegexRewrite: {match: '^/service/([^/]+)(/.*)$', rewrite: '\\2/customer/\\1'}}",
  "rewrite: {uriRegexRewrite: {match: old, rewrite: new}}",
  "rewrite: {uriRegexRewrite: {match: '/(.*)', rewrite: '\\0/x'}}",
  "fault: {delay: {fixedDelay: 7s, percentage: {value: 0.1}}, abort: {grpcStatus: UNAVAILABLE}}",
])("is taken: %s", (text) => {
  expect(issues(withRoute(text))).toEqual([]);
});

test("the hint for a value that stands for any", () => {
  expect(issues(withRoute('match: [{headers: {x: {regex: "*"}}}]'))[0]).toContain("say `{}` for any value");
  expect(issues(withRoute('match: [{headers: {x: {prefix: ""}}}]'))[0]).toContain("say `{}` for any value");
});

test("an empty list of endpoints is none: the host itself is looked up", () => {
  const { services } = buildWorld(load(entry("resolution: DNS_ROUND_ROBIN, endpoints: []"), "e").objects);
  expect(services[0]?.inline[80]?.map((e) => e.address)).toEqual(["a.example"]);
});

test("a regular expression of a megabyte is refused at once", () => {
  expect(issues(withRoute(`match: [{uri: {regex: "${"a".repeat(1_000_000)}"}}]`))[0]).toContain(
    "it has 1000000 characters, 1024 are allowed",
  );
});

test("0 of a limit is none, as in Istio", () => {
  const { objects } = load(rule("{connectionPool: {tcp: {maxConnections: 0, connectTimeout: 1s}}}"), "r");
  expect(objects[0]?.spec).toMatchObject({
    trafficPolicy: { connectionPool: { tcp: { maxConnections: undefined, connectTimeout: 1000 } } },
  });
});

test.each([
  [
    "timeout: 1s, retries: {attempts: 1, perTryTimeout: 2s}",
    "never-reached spec.http[0].retries.perTryTimeout",
  ],
  [
    "retries: {attempts: 1, retryRemoteLocalities: true}",
    "not-carried-out spec.http[0].retries.retryRemoteLocalities",
  ],
  ["match: [{uri: {prefix: api}}]", "never-matches spec.http[0].match[0].uri.prefix"],
  ["match: [{uri: {exact: ''}}]", "never-matches spec.http[0].match[0].uri.exact"],
])("is taken, and told: %s", (text, told) => {
  const found = validate(buildWorld(load(withRoute(text), "v.yaml").objects));
  expect(found.map((i) => `${i.code} ${i.path}`)).toContain(told);
});
