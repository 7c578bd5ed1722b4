import { spawnSync } from "node:child_process";
import { openSync } from "node:fs";
import { expect, test } from "vitest";

test("a program whose stderr is a full disk goes on", () => {
  const program = `
    import { createLogger } from "${import.meta.dirname}/log.ts";
    const log = createLogger("a");
    log.error("one");
    await new Promise((done) => setTimeout(done, 10));
    log.error("two");
    console.log("alive");`;
  const { stdout, status } = spawnSync(process.execPath, ["--input-type=module", "-e", program], {
    stdio: ["ignore", "pipe", openSync("/dev/full", "w")],
    encoding: "utf8",
  });
  expect([stdout, status]).toEqual(["alive\n", 0]);
});
