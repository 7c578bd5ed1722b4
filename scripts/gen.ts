// Generates xds/gen from the descriptor sets under third_party/descriptors: the files named in
// xds/roots.json and all that they import. Runs in `npm ci` (prepare) and `npm run gen`.
// JavaScript with .d.ts rather than TypeScript: nothing is left to strip at each start of a sidecar.
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  CodeGeneratorRequestSchema,
  CodeGeneratorResponseSchema,
  type FileDescriptorProto,
  FileDescriptorSetSchema,
} from "@bufbuild/protobuf/wkt";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const out = join(root, "xds/gen");
const roots: Record<string, string[]> = JSON.parse(readFileSync(join(root, "xds/roots.json"), "utf8"));

const files: FileDescriptorProto[] = []; // dependencies before dependents, as protoc gives them
const seen = new Set<string>();
const wanted = new Set<string>();
for (const [set, names] of Object.entries(roots)) {
  const bytes = readFileSync(join(root, "third_party/descriptors", set));
  const byName = new Map(fromBinary(FileDescriptorSetSchema, bytes).file.map((f) => [f.name, f]));
  const add = (name: string): void => {
    if (seen.has(name)) return;
    seen.add(name);
    const file = byName.get(name);
    if (file === undefined) throw new Error(`${set} has no ${name}; see xds/roots.json`);
    for (const dependency of file.dependency) add(dependency);
    files.push(file);
    if (!name.startsWith("google/protobuf/")) wanted.add(name); // those ship with @bufbuild/protobuf
  };
  for (const name of names) add(name);
}

const request = create(CodeGeneratorRequestSchema, {
  fileToGenerate: [...wanted],
  parameter: "target=js+dts,import_extension=js",
  protoFile: files,
});
const plugin = join(root, "node_modules/.bin/protoc-gen-es");
const run = spawnSync(process.execPath, [plugin], {
  input: toBinary(CodeGeneratorRequestSchema, request),
  maxBuffer: 1 << 28,
});
if (run.status !== 0) throw new Error(`protoc-gen-es failed: ${run.stderr}`);
const response = fromBinary(CodeGeneratorResponseSchema, run.stdout);
if (response.error) throw new Error(`protoc-gen-es: ${response.error}`);

rmSync(out, { recursive: true, force: true });
for (const file of response.file) {
  const path = join(out, file.name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, file.content);
}
console.log(`xds/gen: ${response.file.length / 2} modules from ${files.length} descriptors`);
