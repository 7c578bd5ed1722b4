/** Tables of what a proxy runs, from Envoy's admin answers (config_dump, clusters, certs): ours have the same shape. */

/** Protobuf JSON, looked into without its types: a proxy of another version may say more. */
type Json = Readonly<Record<string, unknown>>;

const json = (value: unknown): Json =>
  typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Json) : {};
const list = (value: unknown): Json[] => (Array.isArray(value) ? value.map(json) : []);
const text = (value: unknown): string =>
  typeof value === "string" || typeof value === "number" ? String(value) : "";

/** The part of a config dump with this message name. */
function section(dump: unknown, name: string): Json {
  return list(json(dump)["configs"]).find((part) => text(part["@type"]).endsWith(`.${name}`)) ?? {};
}

/** Of a /config_dump, with its heads as first row; so are the others. */
export function clusterRows(dump: unknown): string[][] {
  const part = section(dump, "ClustersConfigDump");
  const clusters = [...list(part["static_clusters"]), ...list(part["dynamic_active_clusters"])].map((c) =>
    json(c["cluster"]),
  );
  return [
    ["SERVICE", "PORT", "SUBSET", "DIRECTION", "TYPE", "DESTINATION RULE"],
    ...clusters.map((cluster) => {
      const name = text(cluster["name"]);
      const [direction = "", port = "", subset = "", host = ""] = name.split("|");
      const known = name.includes("|");
      return [
        known ? host : name,
        known ? port : "",
        known ? subset : "",
        known ? direction : "",
        text(cluster["type"]) || (cluster["cluster_type"] === undefined ? "STATIC" : "CUSTOM"),
        madeBy(cluster),
      ];
    }),
  ];
}

/** Of /clusters?format=json. */
export function endpointRows(clusters: unknown): string[][] {
  const rows = list(json(clusters)["cluster_statuses"]).flatMap((cluster) =>
    list(cluster["host_statuses"]).map((host) => {
      const health = json(host["health_status"]);
      const stats = new Map(list(host["stats"]).map((stat) => [text(stat["name"]), text(stat["value"])]));
      return [
        address(host["address"]),
        text(health["eds_health_status"]) || "UNKNOWN",
        health["failed_outlier_check"] === true ? "ejected" : "no",
        stats.get("cx_active") ?? "0",
        stats.get("rq_active") ?? "0",
        text(cluster["name"]),
      ];
    }),
  );
  return [["ENDPOINT", "HEALTH", "OUTLIER", "CONNECTIONS", "REQUESTS", "CLUSTER"], ...rows];
}

export function listenerRows(dump: unknown): string[][] {
  const part = section(dump, "ListenersConfigDump");
  const listeners = [
    ...list(part["static_listeners"]).map((l) => json(l["listener"])),
    ...list(part["dynamic_listeners"]).map((l) => json(json(l["active_state"])["listener"])),
  ];
  return [
    ["LISTENER", "ADDRESS", "DIRECTION", "MATCH", "THEN"],
    ...listeners.flatMap((listener) =>
      chainsOf(listener).map(({ match, chain }) => [
        text(listener["name"]),
        address(listener["address"]),
        text(listener["traffic_direction"]).toLowerCase(),
        match,
        terminal(chain),
      ]),
    ),
  ];
}

function chainsOf(listener: Json): { match: string; chain: Json }[] {
  const chains = list(listener["filter_chains"]).map((chain) => ({
    match: matchOf(json(chain["filter_chain_match"])),
    chain,
  }));
  const fallback = listener["default_filter_chain"];
  return fallback === undefined ? chains : [...chains, { match: "else", chain: json(fallback) }];
}

function matchOf(match: Json): string {
  const parts = [
    match["destination_port"] === undefined ? "" : `port ${text(match["destination_port"])}`,
    text(match["transport_protocol"]),
    strings(match["server_names"]).join(","),
    strings(match["application_protocols"]).join(","),
  ].filter((part) => part !== "");
  return parts.length === 0 ? "any" : parts.join(" ");
}

const strings = (value: unknown): string[] => (Array.isArray(value) ? value.map(text) : []);

/** Where a chain leads: mutual TLS first, then a route table or a cluster. */
function terminal(chain: Json): string {
  const tls = chain["transport_socket"] === undefined ? "" : "TLS, ";
  const filters = list(chain["filters"]).map((filter) => json(filter["typed_config"]));
  const inner = filters.flatMap((filter) => list(filter["http_filters"]).map((f) => json(f["typed_config"])));
  const isRbac = (filter: Json): boolean => text(filter["@type"]).endsWith(".RBAC");
  const rbac = [...filters, ...inner].some(isRbac) ? "authorization, " : "";
  for (const filter of filters) {
    const rds = json(filter["rds"]);
    if (filter["rds"] !== undefined) return `${tls}${rbac}routes ${text(rds["route_config_name"])}`;
    if (filter["route_config"] !== undefined)
      return `${tls}${rbac}routes ${text(json(filter["route_config"])["name"])}`;
    if (filter["cluster"] !== undefined) return `${tls}${rbac}${text(filter["cluster"])}`;
    const weighted = list(json(filter["weighted_clusters"])["clusters"]);
    if (weighted.length > 0) return `${tls}${rbac}${weighted.map(share).join(", ")}`;
  }
  return `${tls}${rbac}closed`;
}

const share = (cluster: Json): string => `${text(cluster["weight"])} ${text(cluster["name"])}`;

export function routeRows(dump: unknown): string[][] {
  const part = section(dump, "RoutesConfigDump");
  const tables = [...list(part["static_route_configs"]), ...list(part["dynamic_route_configs"])].map((t) =>
    json(t["route_config"]),
  );
  return [
    ["TABLE", "HOST", "MATCH", "THEN", "VIRTUAL SERVICE"],
    ...tables.flatMap((table) =>
      list(table["virtual_hosts"]).flatMap((host) =>
        list(host["routes"]).map((route) => [
          text(table["name"]),
          strings(host["domains"])[0] ?? "",
          routeMatch(json(route["match"])),
          routeAction(route),
          madeBy(route),
        ]),
      ),
    ),
  ];
}

function routeMatch(match: Json): string {
  const path =
    match["path"] !== undefined
      ? `= ${text(match["path"])}`
      : match["prefix"] !== undefined
        ? `${text(match["prefix"])}*`
        : match["path_separated_prefix"] !== undefined
          ? `${text(match["path_separated_prefix"])}/*`
          : match["safe_regex"] !== undefined
            ? `~ ${text(json(match["safe_regex"])["regex"])}`
            : "any";
  const headers = list(match["headers"]).map((header) => {
    const [value] = Object.values(json(header["string_match"])).map((v) =>
      typeof v === "string" ? v : text(json(v)["regex"]),
    );
    return `${header["invert_match"] === true ? "not " : ""}${text(header["name"])}${value ? `=${value}` : ""}`;
  });
  const query = list(match["query_parameters"]).map((parameter) => `?${text(parameter["name"])}`);
  return [path, ...headers, ...query].join(" ");
}

function routeAction(route: Json): string {
  const fault =
    json(route["typed_per_filter_config"])["envoy.filters.http.fault"] === undefined ? "" : "fault, ";
  if (route["redirect"] !== undefined) return `${fault}redirect`;
  if (route["direct_response"] !== undefined)
    return `${fault}answer ${text(json(route["direct_response"])["status"])}`;
  const action = json(route["route"]);
  const weighted = list(json(action["weighted_clusters"])["clusters"]);
  return fault + (weighted.length > 0 ? weighted.map(share).join(", ") : text(action["cluster"]));
}

/** Of /certs; `nowMs` since the epoch. */
export function certificateRows(certs: unknown, nowMs: number): string[][] {
  const rows = list(json(certs)["certificates"]).flatMap((certificate) =>
    (["cert_chain", "ca_cert"] as const).flatMap((kind) =>
      list(certificate[kind]).map((one) => {
        const left = (Date.parse(text(one["expiration_time"])) - nowMs) / 3_600_000;
        return [
          kind === "ca_cert" ? "root" : "workload",
          list(one["subject_alt_names"])
            .map((san) => text(san["uri"]) || text(san["dns"]))
            .join(","),
          text(one["serial_number"]),
          text(one["valid_from"]),
          text(one["expiration_time"]),
          left < 48 ? `${left.toFixed(1)} h` : `${Math.floor(left / 24)} days`,
        ];
      }),
    ),
  );
  // Envoy lists a certificate once per cluster and listener that uses it.
  const distinct = [...new Map(rows.map((row) => [row.join(), row])).values()];
  return [["KIND", "IDENTITY", "SERIAL", "FROM", "UNTIL", "LEFT"], ...distinct];
}

function address(value: unknown): string {
  const socket = json(json(value)["socket_address"]);
  const pipe = json(json(value)["pipe"]);
  return pipe["path"] === undefined
    ? `${text(socket["address"])}:${text(socket["port_value"])}`
    : text(pipe["path"]);
}

/** "reviews.default file.yaml:12", from the metadata that the control plane wrote. */
function madeBy(resource: Json): string {
  const metadata = json(json(resource["metadata"])["filter_metadata"]);
  const [, namespace = "", name = ""] =
    /\/namespaces\/([^/]*)\/[^/]+\/(.+)$/.exec(text(json(metadata["istio"])["config"])) ?? [];
  const source = text(json(metadata["weft"])["source"]);
  return name === "" ? "" : `${name}.${namespace}${source === "" ? "" : ` ${source}`}`;
}
