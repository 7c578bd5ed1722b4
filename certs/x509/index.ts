export { buildLeaf, buildRoot } from "./build.ts";
export { buildCsr, parseCsr } from "./csr.ts";
export { fromPem, toPem } from "./pem.ts";
export { readCertificate } from "./read.ts";
export { validateSvid } from "./validate.ts";
