/** What stands in a folder besides policies, and how texts are written: each is read, refused or left alone with a word. */
import { describe, expect, test } from "vitest";
import { load } from "./load.ts";
import { readYaml } from "./yaml.ts";

const SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80}]}\n";
const said = (text: string | Uint8Array, maybe = true) =>
  load(text, "f", maybe).issues.map((i) => `${i.level} ${i.line} ${i.code}`);

test("plain scalars are what Kubernetes reads", () => {
  const value = (text: string) => readYaml(`a: ${text}`)[0]?.value;
  for (const text of [
    ".",
    "1:30",
    "1:30:00",
    "2026-01-01",
    "2026-01-01T00:00:00Z",
    "0x",
    "08x",
    "v1",
    "=",
    "_1",
  ])
    expect(value(text)).toEqual({ a: text });
  const read: readonly (readonly [string, unknown])[] = [
    ["1_000", 1000],
    ["0777", 511],
    ["0o17", 15],
    ["0x1f", 31],
    ["08", 8],
    ["-12", -12],
    ["1e3", 1000],
    [".5", 0.5],
    ["yes", true],
    ["off", false],
    ["~", null],
    ["", null],
    ['"1"', "1"],
    ["'yes'", "yes"],
  ];
  for (const [text, meant] of read) expect(value(text)).toEqual({ a: meant });
});

test("a line is that of the value, or of the nearest that there is", () => {
  const [document] = readYaml("# one\na:\n  - b: 1\n    'c d': {e: 2,\n      f: 3}\n  -\ng:\n");
  const lines = [["a"], ["a", 0, "b"], ["a", 0, "c d", "f"], ["a", 0, "nothing"], ["g"], []];
  expect(lines.map((path) => document!.line(path))).toEqual([3, 3, 5, 3, 7, 2]);
});

describe("in a folder", () => {
  const FOREIGN: readonly (readonly [string, string])[] = [
    ["package.json", '{"name": "a", "version": "1.0.0", "scripts": {}}'],
    ["values.yaml", "replicas: 1\nimage:\n  tag: v1\n"],
    ["Chart.yaml", "apiVersion: v2\nname: a\nversion: 0.1.0\n"],
    ["tsconfig.json, which is no JSON", '{\n  // strict\n  "compilerOptions": {"strict": true,},\n}'],
    ["a list", "- a\n- b\n"],
    ["a sentence", "hello"],
    ["a text with tags of its own", "a: !!python/name:x\n"],
    ["several documents", "a: 1\n---\nb: 2\n"],
    ["a picture of the wrong name", "\u0089PNG\u0000\u0001"],
  ];
  test.each(FOREIGN)("%s is left alone with one word", (_what, text) => {
    expect(said(text)).toEqual([expect.stringMatching(/^warning \d+ foreign-file$/)]);
    expect(load(text, "f", true).issues[0]?.message).toContain("left alone");
    // Not where objects are expected, as of `weft apply`.
    expect(said(text, false)[0]).toMatch(/^error/);
  });
  test("kustomization.yaml is a kind of somebody else", () => {
    expect(said("apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: []\n")).toEqual(
      ["warning 2 foreign-kind"],
    );
  });
  test("what has a kind or an apiVersion is meant for the mesh, and an error", () => {
    expect(said("kind: Service\nmetadata: {name: a}\n")).toEqual(["error 1 not-an-object"]);
    expect(said("apiVersion: v1\nKind: Service\n")).toEqual(["error 1 not-an-object"]);
    expect(said("apiVersion: v1\nkind: [Service\n")).toEqual(["error 3 yaml"]);
  });
  test("an unrendered template is called so", () => {
    for (const name of ["{{ .Values.name }}", '"{{ .Release.Name }}-a"', '{{ include "a" . }}'])
      expect(said(SERVICE.replace("{name: a}", `\n  name: ${name}`))).toEqual(["error 4 template"]);
    expect(said(`{{- if .Values.on }}\n${SERVICE}{{- end }}\n`)).toEqual(["error 1 template"]);
  });
});

describe("encodings", () => {
  test("a byte order mark is no part of the text, before --- neither", () => {
    for (const text of [`\uFEFF${SERVICE}`, `\uFEFF---\n${SERVICE}`, `${SERVICE}\uFEFF---\n`]) {
      const { objects, issues } = load(Buffer.from(text), "f");
      expect([objects.length, issues]).toEqual([1, []]);
    }
  });
  test("UTF-16, with a mark and without, and what is not UTF-8 are refused in a sentence", () => {
    const utf16 = Buffer.from(SERVICE, "utf16le");
    const latin = Buffer.from(SERVICE.replace("80", "80} # \u00e9"), "latin1");
    for (const bytes of [utf16, Buffer.concat([Buffer.from([0xff, 0xfe]), utf16])])
      expect(load(bytes, "f").issues.map((i) => i.message)).toEqual(["the text is UTF-16: save it as UTF-8"]);
    expect(load(latin, "f").issues.map((i) => i.message)).toEqual([
      "line 4 is not valid UTF-8: save the file as UTF-8",
    ]);
  });
});

test("lists of every kind are what is in them", () => {
  const item = "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{port: 80}]}}";
  for (const kind of ["List", "ServiceList"]) {
    const { objects, issues } = load(`apiVersion: v1\nkind: ${kind}\nitems:\n- ${item}\n- kind: X\n`, "f");
    expect(objects.map((o) => [o.name, o.source.line])).toEqual([["a", 4]]);
    expect(issues.map((i) => [i.line, i.code])).toEqual([[5, "not-an-object"]]);
  }
});

test("hostile texts of 4 MB are refused, and 20,000 documents are the most", () => {
  const size = 4_000_000;
  for (const piece of ["[", "? ", "- ", "a: &a [*a,", "---\n", '"', "{a: ", "!!a "])
    expect(said(piece.repeat(size / piece.length), false).length).toBeGreaterThan(0);
});
