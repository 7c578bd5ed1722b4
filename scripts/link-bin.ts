// Puts `weft` into node_modules/.bin, so that `npx weft` in a checkout runs this very source at once; without it npx
// first installs the checkout into its own cache, with warnings about the system's Node. Runs in `npm ci` (prepare).
import { rmSync, symlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const link = join(dirname(fileURLToPath(import.meta.url)), "../node_modules/.bin/weft");
rmSync(link, { force: true });
symlinkSync("../../cli/weft.cjs", link);
