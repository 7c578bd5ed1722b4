import { expect, test } from "vitest";
import { grouped } from "./warnings.ts";

const warning = (line: number, object: string, text: string): string =>
  `warning: /w/a.yaml:${line}: ${object}: ${text}`;

test("alike warnings are one, with the first places; errors stay whole", () => {
  const lines = [
    "/w/a.yaml:1: Service default/x: spec.ports: wrong",
    ...[1, 2, 3, 4].map((n) =>
      warning(n, `Deployment default/d${n}`, `spec.containers[${n}].image: is not pulled`),
    ),
    warning(9, "Service default/x", "selects nothing"),
    "warning: something without a place",
  ];
  expect(grouped(lines, "/w", "weft validate x")).toEqual([
    "/w/a.yaml:1: Service default/x: spec.ports: wrong",
    "warning: spec.containers[1].image: is not pulled\n  a.yaml:1 Deployment default/d1\n  a.yaml:2 Deployment default/d2\n  a.yaml:3 Deployment default/d3\n  and 1 more",
    "warning: a.yaml:9 Service default/x: selects nothing",
    "warning: something without a place",
  ]);
});

test("of many different ones the rest is counted, with the command that tells it", () => {
  const lines = Array.from({ length: 11 }, (_, n) =>
    warning(n, "Service default/x", `reason ${"x".repeat(n)}`),
  );
  expect(grouped(lines, "/w", "weft validate x").at(-1)).toBe("3 more warnings: weft validate x");
});
