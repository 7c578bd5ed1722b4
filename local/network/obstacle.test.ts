import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { explain, missingTools, searchPath } from "./obstacle.ts";

const unset = (): null => null;

test("missing tools are named together with their packages", () => {
  const dir = mkdtempSync(join(tmpdir(), "wf-tools-"));
  try {
    mkdirSync(join(dir, "bin"));
    for (const tool of ["unshare", "nsenter", "mount"])
      writeFileSync(join(dir, "bin", tool), "", { mode: 0o755 });
    expect(missingTools(`${join(dir, "absent")}:${join(dir, "bin")}`)).toBe(
      "ip, iptables-restore not found on PATH; install iproute2, iptables",
    );
  } finally {
    rmSync(dir, { recursive: true });
  }
});

test("administrators' folders are searched, once", () => {
  expect(searchPath("/usr/bin::/sbin")).toBe("/usr/bin:/sbin:/usr/sbin");
});

test.each([
  ["unshare: unrecognized option '--keep-caps'", unset, /too old .*install util-linux 2\.36/],
  [
    "unshare: write failed /proc/self/uid_map: Operation not permitted",
    (name: string) => (name === "kernel.apparmor_restrict_unprivileged_userns" ? 1 : null),
    /run: sudo sysctl -w kernel\.apparmor_restrict_unprivileged_userns=0$/,
  ],
  [
    "unshare: unshare failed: Operation not permitted",
    (name: string) => (name === "kernel.unprivileged_userns_clone" ? 0 : null),
    /run: sudo sysctl -w kernel\.unprivileged_userns_clone=1$/,
  ],
  ["unshare: unshare failed: Operation not permitted", unset, /docker run --privileged/],
  ["unshare: unshare failed: No space left on device", unset, /too many namespaces/],
  [
    "iptables-restore: line 4 failed: No chain/target/match by that name.",
    unset,
    /modprobe -a .*xt_REDIRECT/,
  ],
  ["ip: RTNETLINK answers: Operation not supported", unset, /modprobe veth/],
  ["mount: /etc/hosts: permission denied.", unset, /AppArmor or SELinux/],
  ["EROFS: read-only file system, open '/proc/sys/net/ipv4/ip_forward'", unset, /read-only/],
])("%s: says what to do", (said, setting, expected) => {
  const text = explain(said, setting);
  expect(text).toMatch(expected);
  expect(text).toContain(said.split(": ").at(-1));
});
