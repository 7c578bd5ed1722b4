import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { startDetached } from "./detach.ts";

/** proc(5): when the process began. */
function startTime(pid: number): string {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19]!;
}

test("a second `up --detach` leaves the log of the mesh that runs as it is", async () => {
  const dir = mkdtempSync(join(tmpdir(), "wf-"));
  try {
    mkdirSync(join(dir, "state"));
    const pid = process.ppid;
    writeFileSync(join(dir, "state/supervisor.json"), JSON.stringify({ pid, startTime: startTime(pid) }));
    writeFileSync(join(dir, "state/supervisor.log"), "what was said before\n");
    await expect(startDetached([dir], join(dir, "state"), dir, process.env)).rejects.toThrow(
      `a mesh already runs in ${join(dir, "state")} (pid ${pid})`,
    );
    expect(readFileSync(join(dir, "state/supervisor.log"), "utf8")).toBe("what was said before\n");
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
