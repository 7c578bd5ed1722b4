/** `npm run bench -- QUESTION [--json] [--rounds N] [--seconds N] [--connections N] [--services N] [--proxies N]` */
import { parseArgs } from "node:util";
import { controlPlane } from "./control-plane/bench.ts";
import { toJson, toTable } from "./harness/report.ts";
import { http1 } from "./http1/bench.ts";

const QUESTIONS = { http1, "control-plane": controlPlane };
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: "boolean", default: false },
    rounds: { type: "string", default: "3" },
    seconds: { type: "string", default: "5" },
    connections: { type: "string", default: "64" },
    services: { type: "string", default: "1000" },
    proxies: { type: "string", default: "50" },
  },
});
const question = QUESTIONS[positionals[0] as keyof typeof QUESTIONS];
if (question === undefined || positionals.length !== 1) {
  console.error(`which question? one of: ${Object.keys(QUESTIONS).join(", ")}`);
  process.exit(2);
}
try {
  const report = await question({
    rounds: Number(values.rounds),
    seconds: Number(values.seconds),
    connections: Number(values.connections),
    services: Number(values.services),
    proxies: Number(values.proxies),
    progress: (line) => void console.error(line),
  });
  console.log(values.json ? toJson(report) : toTable(report));
} catch (error) {
  console.error(`error: ${(error as Error).message}`);
  process.exitCode = 1;
}
