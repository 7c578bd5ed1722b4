/**
 * Documents made from the schemas themselves: a field that is added to a spec is generated without a word here. Most
 * values are usual ones, some are what users and attackers write.
 */
import fc from "fast-check";
import type { Schema, Shape } from "#policies/schema.ts";

/** Of what a text stands for (policies: `text("host")`); what is not listed gets `any`. */
const USUAL: Readonly<Record<string, readonly string[]>> = {
  any: ["a", "v1", "x-y", "a b", "", "50%%", "%REQ(x-user)%", "a/b"],
  label: ["app", "version", "a", "b.example/c"],
  host: ["s0", "s1", "s2", "s3.default.svc.cluster.local", "a.example", "*.b.example", "10.1.2.3", "fd00::1"],
  "gateway-host": ["a.example", "*", "*.b.example", "./c.example", "default/d.example", "*/e.example"],
  subset: ["v1", "v2", "s-1"],
  namespace: ["default", "istio-system", "other", "de*", "*"],
  gateway: ["mesh", "f0", "default/f1"],
  "export-to": [".", "*", "default", "other"],
  "header-name": ["x-user", "X-A", "cookie", "x_b"],
  "request-header-name": ["x-user", "X-A", "host", ":authority", "x_b"],
  "header-value": ["a", "", "50%%", "%REQ(x-user)%", "%HOSTNAME%", "a, b", "%DOWNSTREAM_REMOTE_ADDRESS%"],
  authority: ["a.example", "a.example:8080", "[fd00::1]:80", "10.0.0.1"],
  target: ["/", "/a", "/a/b?c=d", "/a%20b"],
  path: ["/", "/a", "/a/b", "/{*}", "/a/{**}/b", "/a*", "*.html", "*"],
  regex: [".*", "/a/[0-9]+", "a|b", "(/.*)", "[^/]+"],
  "retry-on": ["5xx", "503,reset", "connect-failure,refused-stream", "retriable-4xx, unavailable"],
  principal: ["cluster.local/ns/default/sa/shop", "cluster.local/ns/default/*", "*/sa/shop", "*"],
  "service-account": ["shop", "default/shop"],
  "trust-domain": ["cluster.local", "*.local", "*"],
  method: ["GET", "P*", "*T", "*"],
  port: ["80", "8080", "65535", "1"],
  range: ["10.0.0.0/8", "10.1.2.3", "::/0", "fd00::1/64"],
  address: ["10.1.2.3", "fd00::1", "a.example"],
  "port-or-name": ["http", "tcp", "8080"],
  protocol: ["HTTP", "TCP", "tls", "HTTPS", "GRPC"],
  "port-name": ["http", "tcp-1", "a"],
  "when-key": [
    "source.ip",
    "remote.ip",
    "source.namespace",
    "source.principal",
    "source.serviceAccount",
    "source.trustDomain",
    "destination.ip",
    "destination.port",
    "connection.sni",
    "request.headers[x-user]",
    "request.headers[:authority]",
  ],
};
const ODD: readonly string[] = [
  "",
  " ",
  "%",
  "%%%",
  "%NOBODY%",
  "%REQ(%",
  "*",
  "**",
  "a*b",
  "{*}",
  "{**}",
  "/{**}/{**}",
  "/[x]/{*}",
  "/a b",
  "a\r\nb: c",
  "a\tb",
  "\u0000",
  "\u007f",
  "\ud800",
  "Grüße",
  "😀",
  "x".repeat(64),
  "x".repeat(254),
  `/${"x".repeat(20_000)}`,
  "(",
  "(?=a)",
  "\\9",
  ":path",
  "content-length",
  "Transfer-Encoding",
  "0",
  "-1",
  "99999",
  "1e3",
  "0x10",
  "true",
  "null",
  "a|b|c",
  '"',
  "\\",
  "..",
  "/../a",
  "//",
  "#",
  "?",
  "spiffe://cluster.local/ns/default/sa/shop",
  "10.0.0.0/33",
  "fe80::1%eth0",
  "::ffff:1.2.3.4",
  "256.1.1.1",
  "a.example.",
  "A.EXAMPLE",
  "a_b.example",
  "-a",
];
const NOT_TEXT = [0, 1, true, null, [], {}, Number.NaN] as const;

function often(usual: fc.Arbitrary<unknown>, odd: fc.Arbitrary<unknown>): fc.Arbitrary<unknown> {
  return fc.oneof({ weight: 12, arbitrary: usual }, { weight: 1, arbitrary: odd });
}

function textFor(like: string): fc.Arbitrary<string> {
  const usual = fc.constantFrom(...(USUAL[like] ?? USUAL["any"]!));
  return fc.oneof(
    { weight: 12, arbitrary: usual },
    { weight: 1, arbitrary: fc.oneof(fc.constantFrom(...ODD), fc.string()) },
  );
}

const DURATIONS = ["1s", "100ms", "0s", "1h30m", "1.5s", "8760h", "2562047h", "2147484s", "1ms"];
const ODD_DURATIONS = [
  "99999999h",
  "1ns",
  "0.5ms",
  "-1s",
  "1",
  "",
  "1d",
  "2562048h",
  5,
  Number.POSITIVE_INFINITY,
];

const made = new WeakMap<Schema<unknown>, fc.Arbitrary<unknown>>();
/** Values that the schema may take, and some that it refuses. */
export function valuesOf(schema: Schema<unknown>): fc.Arbitrary<unknown> {
  let found = made.get(schema);
  if (found === undefined) {
    found = schema.shape === undefined ? textFor("any") : ofShape(schema.shape);
    made.set(schema, found);
  }
  return found;
}

function ofShape(shape: Shape): fc.Arbitrary<unknown> {
  switch (shape.kind) {
    case "text":
      return fc.oneof(
        { weight: 30, arbitrary: textFor(shape.like) },
        { weight: 1, arbitrary: fc.constantFrom<unknown>(...NOT_TEXT) },
      );
    case "boolean":
      return often(fc.boolean(), fc.constantFrom("true", 1, null));
    case "integer":
    case "number": {
      const { min, max } = shape;
      const inside = fc.oneof(
        fc.constantFrom(min, max, Math.min(max, min + 1)),
        fc.integer({ min, max: Math.min(max, min + 1000) }),
      );
      return often(
        shape.kind === "number" ? fc.oneof(inside, fc.double({ min, max, noNaN: true })) : inside,
        fc.constantFrom(min - 1, max + 1, 1.5, 2 ** 31, 2 ** 32, 2 ** 53, Number.NaN, "1", null),
      );
    }
    case "duration":
      return often(fc.constantFrom(...DURATIONS), fc.constantFrom<unknown>(...ODD_DURATIONS));
    case "one-of":
      return often(fc.constantFrom(...shape.names), fc.constantFrom<unknown>("", "NONE", 1, null));
    case "list":
      return often(
        fc.array(
          fc.oneof(
            { weight: 30, arbitrary: valuesOf(shape.item) },
            { weight: 1, arbitrary: fc.constant(null) },
          ),
          {
            minLength: 1,
            maxLength: 3,
          },
        ),
        fc.constantFrom<unknown>([], null, {}, "a"),
      );
    case "map":
      return often(
        fc.dictionary(textFor(shape.keys), valuesOf(shape.item), { minKeys: 1, maxKeys: 3 }),
        fc.constantFrom<unknown>({}, null, [], "a"),
      );
    case "object": {
      const fields = Object.entries(shape.fields).map(
        ([name, field]) =>
          [
            name,
            typeof field === "function"
              ? fc.oneof(fc.constant(undefined), valuesOf(field))
              : valuesOf(field.required),
          ] as const,
      );
      return often(
        fc.record(Object.fromEntries(fields)).map(withoutUndefined),
        fc.constantFrom<unknown>({}, null, [], "a"),
      );
    }
  }
}

function withoutUndefined(value: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(value).filter(([, v]) => v !== undefined));
}

/** Every field below the schema, as "spec.http.route.weight". */
export function fieldsOf(schema: Schema<unknown>, path: string): string[] {
  const { shape } = schema;
  if (shape?.kind === "list" || shape?.kind === "map") return fieldsOf(shape.item, path);
  if (shape?.kind !== "object") return [];
  return Object.entries(shape.fields).flatMap(([name, field]) => [
    `${path}.${name}`,
    ...fieldsOf(typeof field === "function" ? field : field.required, `${path}.${name}`),
  ]);
}

/** Those that the value sets. */
export function fieldsIn(schema: Schema<unknown>, value: unknown, path: string, into: Set<string>): void {
  const { shape } = schema;
  if (typeof value !== "object" || value === null) return;
  if (shape?.kind === "list" || shape?.kind === "map")
    for (const item of Object.values(value)) fieldsIn(shape.item, item, path, into);
  if (shape?.kind !== "object") return;
  for (const [name, field] of Object.entries(shape.fields)) {
    const inner = (value as Record<string, unknown>)[name];
    if (inner === undefined || inner === null) continue;
    into.add(`${path}.${name}`);
    fieldsIn(typeof field === "function" ? field : field.required, inner, `${path}.${name}`, into);
  }
}
