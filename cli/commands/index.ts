import type { Command } from "../command.ts";
import { completion } from "./completion.ts";
import { config } from "./config.ts";
import { describe } from "./describe.ts";
import { down } from "./down.ts";
import { exec } from "./exec.ts";
import { explain } from "./explain.ts";
import { get } from "./get.ts";
import { logs } from "./logs.ts";
import { apply, remove } from "./objects.ts";
import { portForward } from "./port-forward.ts";
import { restart, rollout, scale } from "./rollout.ts";
import { status } from "./status.ts";
import { trace } from "./trace.ts";
import { up } from "./up.ts";
import { validate } from "./validate.ts";
import { version } from "./version.ts";

/** In the order of the help. */
export const GROUPS: Readonly<Record<string, readonly Command[]>> = {
  "Run a mesh:": [up, down],
  "See what happens:": [status, explain, trace, logs],
  "See what is configured:": [get, describe, config],
  "Change it:": [validate, apply, remove, scale, rollout, restart],
  "Work in a pod:": [exec, portForward],
  "This program:": [completion, version],
};

export const commands: readonly Command[] = Object.values(GROUPS).flat();
