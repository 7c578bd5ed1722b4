/**
 * How much of a peer's certificates is looked at. A peer is not authenticated while they are read, and all of it runs
 * on the loop that serves everybody else: so each length that a peer chooses has a bound. All together are some
 * milliseconds of work. For comparison: OpenSSL's max_cert_list is 100 KB, Go's x509 checks 100 signatures per chain.
 */

/** Certificates that a peer may send: its own, the intermediates, and some that lead nowhere (TLS 1.3 permits them). */
export const MAX_CHAIN_CERTIFICATES = 10;
/** Bytes of DER of all of them. An RSA 4096 certificate has 2 KB. */
export const MAX_CHAIN_BYTES = 32 * 1024;
export const MAX_CERTIFICATE_BYTES = 16 * 1024;
/** CA certificates between a leaf and its root. */
export const MAX_INTERMEDIATES = 6;
/** Signatures that are verified for one peer, fruitless ones counted too. A straight chain needs one per certificate. */
export const MAX_SIGNATURES = 10;
/** Elements of one piece of ASN.1, and how deep they nest. A certificate has about 60 and nests 7 deep. */
export const MAX_ASN1_ELEMENTS = 1024;
export const MAX_ASN1_DEPTH = 16;
/** Extensions of a certificate, names of a subjectAltName, purposes of an extKeyUsage. */
export const MAX_EXTENSIONS = 32;
export const MAX_NAMES = 64;
