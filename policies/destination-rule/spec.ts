import {
  bool,
  check,
  duration,
  type Infer,
  int,
  isHost,
  labels,
  list,
  NOT_A_HOST,
  object,
  oneOf,
  percent,
  port,
  required,
  str,
} from "../schema.ts";

const policyFields = {
  loadBalancer: object(
    {
      simple: oneOf("UNSPECIFIED", "LEAST_REQUEST", "LEAST_CONN", "ROUND_ROBIN", "RANDOM", "PASSTHROUGH"),
    },
    { later: ["consistentHash", "localityLbSetting", "zoneAwareLbSetting", "warmup", "warmupDurationSecs"] },
  ),
  connectionPool: object({
    tcp: object({
      maxConnections: int(),
      connectTimeout: duration,
      tcpKeepalive: object({ probes: int(), time: duration, interval: duration }),
      maxConnectionDuration: duration,
      idleTimeout: duration,
    }),
    http: object(
      {
        http1MaxPendingRequests: int(),
        http2MaxRequests: int(),
        maxRequestsPerConnection: int(),
        maxRetries: int(),
        idleTimeout: duration,
        maxConcurrentStreams: int(),
        h2UpgradePolicy: oneOf("DEFAULT", "UPGRADE", "DO_NOT_UPGRADE"),
      },
      { later: ["useClientProtocol", "http2KeepAlive"] },
    ),
  }),
  outlierDetection: object(
    {
      consecutive5xxErrors: int(),
      consecutiveGatewayErrors: int(),
      splitExternalLocalOriginErrors: bool,
      consecutiveLocalOriginFailures: int(),
      interval: duration,
      baseEjectionTime: duration,
      maxEjectionPercent: percent,
      minHealthPercent: percent,
    },
    { later: ["consecutiveErrors", "outlierDetectionHttpErrorCodes"] },
  ),
  tls: object(
    {
      mode: oneOf("DISABLE", "SIMPLE", "ISTIO_MUTUAL"),
      sni: str,
      subjectAltNames: list(str),
      caCertificates: str,
      insecureSkipVerify: bool,
    },
    { later: ["clientCertificate", "privateKey", "credentialName", "caCrl"] },
  ),
} as const;
const later = ["tunnel", "proxyProtocol", "retryBudget"];
const trafficPolicy = object(
  {
    ...policyFields,
    portLevelSettings: list(object({ port: required(object({ number: required(port) })), ...policyFields })),
  },
  { later },
);
export type TrafficPolicySpec = Infer<typeof trafficPolicy>;

export const destinationRuleSpec = object({
  host: required(check(str, (text) => (isHost(text) ? null : NOT_A_HOST))),
  trafficPolicy,
  subsets: list(object({ name: required(str), labels, trafficPolicy })),
  exportTo: list(str),
  workloadSelector: object({ matchLabels: labels }),
});
