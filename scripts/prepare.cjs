// Runs after `npm ci` (prepare). npm also runs it when `npx weft` meets a checkout that is not installed: then there is
// nothing to prepare, an error would be all that the person sees, and cli/weft.cjs says what to do.
const { spawnSync } = require("child_process");
const { existsSync } = require("fs");
const { join } = require("path");

const node = join(__dirname, "../node_modules/node/bin/node");
if (existsSync(node))
  for (const script of ["gen.ts", "link-bin.ts", "warm.ts"]) {
    const { status } = spawnSync(node, [join(__dirname, script)], { stdio: "inherit" });
    if (status !== 0) {
      process.exitCode = 1;
      break;
    }
  }
