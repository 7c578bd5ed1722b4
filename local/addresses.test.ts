import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { Addresses } from "./addresses.ts";

test.for(["", "null", "[]", '{"pods":{"a":"../../x","b":900},"services":5}', '{"services":{"s":1e9}}'])(
  "what a damaged file cannot say is chosen anew: %s",
  async (text) => {
    const dir = mkdtempSync(join(tmpdir(), "addresses-"));
    writeFileSync(join(dir, "a.json"), text);
    const addresses = new Addresses(join(dir, "a.json"), "transparent");
    expect((await addresses.pod("a")).podIp).toBe("10.244.0.20");
    expect((await addresses.pod("b")).podIp).toBe("10.244.0.21");
    expect(addresses.service("s")).toBe("10.96.0.10");
    expect(new Addresses(join(dir, "a.json"), "transparent").service("s")).toBe("10.96.0.10");
    rmSync(dir, { recursive: true });
  },
);
