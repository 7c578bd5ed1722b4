/** Mounts as root makes them and as a user without rights makes them; both are tried by root, so that neither is skipped in CI. */
import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { hostNetwork, type PodNetwork } from "../network/network.ts";
import { entered, findMounter, mounted } from "./mounts.ts";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "weft-mounts-"));
  chmodSync(dir, 0o755);
  mkdirSync(join(dir, "volume"));
  chmodSync(join(dir, "volume"), 0o777);
  writeFileSync(join(dir, "volume", "file"), "of the volume\n");
  mkdirSync(join(dir, "with space"));
  writeFileSync(join(dir, "with space", "file"), "spaced\n");
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const host = hostNetwork({ podIp: "", appIp: "", servicePrefix: "" });
const nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
const WHO: readonly [string, PodNetwork][] = [
  ["root", host],
  ["a user without rights", { ...host, enter: (command) => [...nobody, ...command] }],
];

test.runIf(process.getuid?.() === 0).each(WHO)(
  "as %s: volumes are seen at their place, and the machine is as it was",
  async (who, network) => {
    const mounter = await findMounter(network, process.env);
    expect(mounter?.users).toBe(who !== "root");
    const binds = [
      { target: "/no-such-root/deep/place", source: join(dir, "volume"), readOnly: false },
      { target: "/no-such-root/deep/place/inner", source: join(dir, "with space"), readOnly: false },
      { target: "/etc/weft mounts/one file", source: join(dir, "volume", "file"), readOnly: true },
      { target: "/etc/hostname", source: join(dir, "volume", "file"), readOnly: false },
      { target: "/opt", source: join(dir, "volume"), readOnly: true },
    ];
    const script = [
      "cat /no-such-root/deep/place/file /no-such-root/deep/place/inner/file '/etc/weft mounts/one file' /etc/hostname",
      "echo new >/no-such-root/deep/place/new",
      "touch /opt/x 2>/dev/null || echo read-only",
      "pwd; ls -d /proc/self /etc/passwd /tmp /usr/bin/env",
      "grep CapEff /proc/self/status",
    ].join("\n");
    const command = mounted(mounter!, binds, join(dir, "mounts"), ["sh", "-c", script], "/no-such-root/deep");
    spawnSync("chmod", ["-R", "a+rX", dir]);
    const [file = "", ...args] = network.enter(command, "/");
    const { stdout, stderr, status } = spawnSync(file, args, { encoding: "utf8" });
    expect(stderr).toBe("");
    expect(status).toBe(0);
    expect(stdout).toContain(
      "of the volume\nspaced\nof the volume\nof the volume\nread-only\n/no-such-root/deep\n",
    );
    expect(stdout).toContain("/etc/passwd\n");
    // What mounting took is given back.
    if (who !== "root") expect(stdout).toContain("CapEff:\t0000000000000000");
    expect(readFileSync(join(dir, "volume", "new"), "utf8")).toBe("new\n");
    expect(existsSync("/no-such-root")).toBe(false);
    expect(existsSync("/etc/weft mounts")).toBe(false);
  },
);

test("a volume that cannot be mounted ends the container with what mount says", async () => {
  const mounter = await findMounter(host, process.env);
  if (mounter === null) return;
  const source = join(dir, "volume");
  const command = mounted(
    mounter,
    [{ target: "/opt", source, readOnly: false }],
    join(dir, "mounts"),
    ["true"],
    "/",
  );
  rmSync(source, { recursive: true });
  const [file = "", ...args] = command;
  const { stderr, status } = spawnSync(file, args, { encoding: "utf8" });
  expect(status).toBe(125);
  expect(stderr).toMatch(/^weft: a volume could not be mounted: .*\/volume/);
});

test("into a container that runs: its mounts, its user namespace and its folder", () => {
  expect(entered({ prefix: [], users: true }, 7, ["ls"], "/app")).toEqual([
    "nsenter",
    "--target",
    "7",
    "--user",
    "--preserve-credentials",
    "--mount",
    "--root",
    "sh",
    "-c",
    'cd "$0" && exec "$@"',
    "/app",
    "ls",
  ]);
});
