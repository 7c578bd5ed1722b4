import { spawnSync } from "node:child_process";

/** For `describe.skipIf`: there is no openssl here, and it is said how to get it. In CI it must be there. */
export function noOpenssl(): boolean {
  if (spawnSync("openssl", ["version"]).status === 0) return false;
  const reason = "no openssl on PATH: apt install openssl";
  if (process.env["CI"]) throw new Error(`in CI nothing may be missing: ${reason}`);
  console.warn(`skipped: ${reason}`);
  return true;
}
