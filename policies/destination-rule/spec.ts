import { exportTo } from "../export-to.ts";
import { comparedValue } from "../http-values.ts";
import {
  bool,
  check,
  duration,
  type Infer,
  int,
  isHost,
  isLabel,
  labels,
  list,
  NOT_A_HOST,
  object,
  oneOf,
  port,
  positiveDuration,
  refine,
  repeated,
  required,
  type Schema,
  text,
  unlessEmpty,
  unlessZero,
} from "../schema.ts";

/** An empty block of settings says nothing: Istio refuses it. */
function notEmpty<T extends object>(schema: Schema<T>): Schema<T> {
  return check(schema, (fields) =>
    Object.values(fields).every((value) => value === undefined)
      ? "must not be empty: say something, or take it out"
      : null,
  );
}
/** The kernel's limits (tcp(7)): beyond them every connection would fail. */
const MOST_PROBES = 127;
const LONGEST_KEEPALIVE_MS = 32_767_000;
const keepaliveTime = check(positiveDuration, (ms) =>
  ms > LONGEST_KEEPALIVE_MS ? `must be at most ${LONGEST_KEEPALIVE_MS / 1000}s` : null,
);
const wholePercent = int(0, 100);

const policyFields = {
  loadBalancer: object(
    {
      simple: oneOf("UNSPECIFIED", "LEAST_REQUEST", "LEAST_CONN", "ROUND_ROBIN", "RANDOM", "PASSTHROUGH"),
    },
    { later: ["consistentHash", "localityLbSetting", "zoneAwareLbSetting", "warmup", "warmupDurationSecs"] },
  ),
  connectionPool: notEmpty(
    object({
      tcp: object({
        maxConnections: unlessZero(int()),
        connectTimeout: positiveDuration,
        tcpKeepalive: object({
          probes: unlessZero(int(0, MOST_PROBES)),
          time: keepaliveTime,
          interval: keepaliveTime,
        }),
        maxConnectionDuration: positiveDuration,
        idleTimeout: duration,
      }),
      http: object(
        {
          http1MaxPendingRequests: unlessZero(int()),
          http2MaxRequests: unlessZero(int()),
          maxRequestsPerConnection: unlessZero(int()),
          maxRetries: unlessZero(int()),
          idleTimeout: positiveDuration,
          maxConcurrentStreams: unlessZero(int()),
          h2UpgradePolicy: oneOf("DEFAULT", "UPGRADE", "DO_NOT_UPGRADE"),
        },
        { later: ["useClientProtocol", "http2KeepAlive"] },
      ),
    }),
  ),
  outlierDetection: check(
    object(
      {
        consecutive5xxErrors: int(),
        consecutiveGatewayErrors: int(),
        splitExternalLocalOriginErrors: bool,
        consecutiveLocalOriginFailures: int(),
        interval: positiveDuration,
        baseEjectionTime: positiveDuration,
        maxEjectionPercent: unlessZero(wholePercent),
        minHealthPercent: wholePercent,
      },
      { later: ["consecutiveErrors", "outlierDetectionHttpErrorCodes"] },
    ),
    (o) =>
      (o.consecutiveLocalOriginFailures ?? 0) > 0 && o.splitExternalLocalOriginErrors !== true
        ? "consecutiveLocalOriginFailures says nothing without splitExternalLocalOriginErrors: true"
        : null,
  ),
  tls: check(
    object(
      {
        mode: required(oneOf("DISABLE", "SIMPLE", "ISTIO_MUTUAL")),
        sni: unlessEmpty(
          check(text("host"), (name) => (isHost(name) && !name.includes("*") ? null : NOT_A_HOST)),
        ),
        subjectAltNames: list(check(comparedValue, (name) => (name === "" ? "must not be empty" : null))),
        caCertificates: unlessEmpty(comparedValue),
        insecureSkipVerify: bool,
      },
      { later: ["clientCertificate", "privateKey", "credentialName", "caCrl"] },
    ),
    (t) =>
      t.insecureSkipVerify && t.mode === "SIMPLE" && (t.caCertificates ?? t.subjectAltNames) !== undefined
        ? "insecureSkipVerify verifies nothing: take caCertificates and subjectAltNames out, or it"
        : null,
  ),
} as const;
const later = ["tunnel", "proxyProtocol", "retryBudget"];
const trafficPolicy = notEmpty(
  object(
    {
      ...policyFields,
      portLevelSettings: refine(
        list(
          check(object({ port: required(object({ number: required(port) })), ...policyFields }), (s) =>
            Object.values(s).filter((value) => value !== undefined).length < 2
              ? "must say something about the port, or be taken out"
              : null,
          ),
        ),
        (all, path, report) => {
          const twice = repeated(all.map((s) => s.port.number));
          if (twice !== undefined) report(path, "invalid-value", `has port ${twice} twice: say it once`);
        },
      ),
    },
    { later },
  ),
);
export type TrafficPolicySpec = Infer<typeof trafficPolicy>;

/** It becomes part of names of clusters and of SNI. */
const subsetName = check(text("subset"), (name) =>
  isLabel(name) ? null : 'must be a name of lower case letters, digits and "-", at most 63 characters',
);
export const destinationRuleSpec = refine(
  object({
    host: required(check(text("host"), (name) => (isHost(name) ? null : NOT_A_HOST))),
    trafficPolicy,
    subsets: list(object({ name: required(subsetName), labels, trafficPolicy })),
    exportTo: exportTo(),
    workloadSelector: object({ matchLabels: labels }),
  }),
  (r, path, report) => {
    const twice = repeated((r.subsets ?? []).map((s) => s.name));
    if (twice !== undefined)
      report([...path, "subsets"], "invalid-value", `has the subset ${twice} twice: say it once`);
    if (r.workloadSelector !== undefined && r.exportTo?.some((to) => to !== "."))
      report(
        [...path, "exportTo"],
        "invalid-value",
        'a rule with a workloadSelector is for its own namespace: say "."',
      );
  },
);
