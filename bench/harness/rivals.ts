/** nginx and HAProxy as people deploy them in front of one host: one worker, keep-alive both ways, no access log. */
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { freePort, type Running, serve, tool } from "./process.ts";

export interface Rival {
  /** What a client opens. */
  readonly port: number;
  /** The processes whose CPU counts. */
  readonly pids: readonly number[];
  stop(): Promise<void>;
}

export interface Certificates {
  readonly ca: string;
  readonly certificate: string;
  readonly key: string;
  /** Certificate and key in one file, for HAProxy. */
  readonly both: string;
}

/** A CA and one P-256 leaf that both ends of a pair use; the meshes make theirs themselves, with the same curve. */
export function makeCertificates(folder: string): Certificates {
  const openssl = tool("openssl", "openssl");
  const at = (name: string): string => join(folder, name);
  const run = (...args: string[]): void => void execFileSync(openssl, args, { cwd: folder, stdio: "ignore" });
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  run("req", "-x509", ...key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/O=bench", "-days", "2");
  run("req", ...key, "-keyout", "leaf.key", "-out", "leaf.csr", "-subj", "/CN=server");
  writeFileSync(at("san"), "subjectAltName=DNS:server\n");
  const sign = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "san", "-days", "2"];
  run("x509", "-req", "-in", "leaf.csr", "-out", "leaf.pem", ...sign);
  execFileSync("sh", ["-c", "cat leaf.pem leaf.key > both.pem"], { cwd: folder });
  return { ca: at("ca.pem"), certificate: at("leaf.pem"), key: at("leaf.key"), both: at("both.pem") };
}

export async function nginx(folder: string, origin: number): Promise<Rival> {
  const port = await freePort();
  return one(await startNginx(folder, "plain", port, "", `http://127.0.0.1:${origin}`, ""), port);
}

export async function nginxPair(folder: string, origin: number, certs: Certificates): Promise<Rival> {
  const [client, server] = [await freePort(), await freePort()];
  const own = (prefix: string): string =>
    `${prefix}_certificate ${certs.certificate}; ${prefix}_certificate_key ${certs.key}; ${prefix}_protocols TLSv1.3;`;
  const inbound = await startNginx(
    folder,
    "server",
    server,
    `${own("ssl")} ssl_client_certificate ${certs.ca}; ssl_verify_client on;`,
    `http://127.0.0.1:${origin}`,
    "",
  );
  const outbound = await startNginx(
    folder,
    "client",
    client,
    "",
    `https://127.0.0.1:${server}`,
    `${own("proxy_ssl")} proxy_ssl_trusted_certificate ${certs.ca}; proxy_ssl_verify on; proxy_ssl_name server;`,
  );
  return two(outbound, inbound, client);
}

async function startNginx(
  folder: string,
  name: string,
  port: number,
  tls: string,
  upstream: string,
  proxy: string,
): Promise<Running> {
  const home = join(folder, `nginx-${name}`);
  mkdirSync(home, { recursive: true });
  const { protocol, host } = new URL(upstream);
  const paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
  writeFileSync(
    join(home, "nginx.conf"),
    `worker_processes 1; daemon off; pid ${home}/pid; error_log stderr crit;
events { worker_connections 4096; }
http {
  access_log off; keepalive_requests 1000000000;
  ${paths.map((path) => `${path}_temp_path ${home}/${path};`).join(" ")}
  upstream origin { server ${host}; keepalive 256; keepalive_requests 1000000000; }
  server {
    listen 127.0.0.1:${port}${tls === "" ? "" : " ssl"}; ${tls}
    location / {
      proxy_pass ${protocol}//origin; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $host; ${proxy}
    }
  }
}
`,
  );
  return serve([tool("nginx", "nginx-light"), "-c", join(home, "nginx.conf")], "127.0.0.1", port);
}

export async function haproxy(folder: string, origin: number): Promise<Rival> {
  const port = await freePort();
  return one(await startHaproxy(folder, "plain", port, "", `127.0.0.1:${origin}`), port);
}

export async function haproxyPair(folder: string, origin: number, certs: Certificates): Promise<Rival> {
  const [client, server] = [await freePort(), await freePort()];
  const tls = `ssl crt ${certs.both} ca-file ${certs.ca} verify required ssl-min-ver TLSv1.3`;
  const inbound = await startHaproxy(folder, "server", server, tls, `127.0.0.1:${origin}`);
  const to = `127.0.0.1:${server} ${tls} sni str(server) verifyhost server`;
  return two(await startHaproxy(folder, "client", client, "", to), inbound, client);
}

function startHaproxy(
  folder: string,
  name: string,
  port: number,
  tls: string,
  upstream: string,
): Promise<Running> {
  const file = join(folder, `haproxy-${name}.cfg`);
  writeFileSync(
    file,
    `global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  http-reuse always
frontend in
  bind 127.0.0.1:${port} ${tls}
  default_backend out
backend out
  server origin ${upstream}
`,
  );
  return serve([tool("haproxy", "haproxy"), "-f", file, "-db"], "127.0.0.1", port);
}

function one(process: Running, port: number): Rival {
  return { port, pids: [process.pid], stop: () => process.stop() };
}

function two(client: Running, server: Running, port: number): Rival {
  return {
    port,
    pids: [client.pid, server.pid],
    stop: async () => void (await Promise.all([client.stop(), server.stop()])),
  };
}
