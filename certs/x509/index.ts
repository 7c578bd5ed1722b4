export { buildLeaf, buildRoot } from "./build.ts";
export { buildCsr, MAX_CSR_BYTES, parseCsr } from "./csr.ts";
export { fromPem, toPem } from "./pem.ts";
export { type ReadCertificate, readCertificate } from "./read.ts";
export { type SvidReason, type SvidResult, validateSvid } from "./validate.ts";
