import type { Command } from "../command.ts";
import { config } from "./config.ts";
import { explain } from "./explain.ts";
import { get } from "./get.ts";
import { apply, remove } from "./objects.ts";
import { status } from "./status.ts";
import { trace } from "./trace.ts";
import { down, up } from "./up.ts";
import { validate } from "./validate.ts";

/** In the order of the help. */
export const commands: readonly Command[] = [
  up,
  down,
  validate,
  status,
  explain,
  trace,
  config,
  get,
  apply,
  remove,
];
