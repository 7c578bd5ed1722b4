import type { Command } from "../command.ts";
import { get } from "./get.ts";
import { apply, remove } from "./objects.ts";
import { status } from "./status.ts";

/** In the order of the help. */
export const commands: readonly Command[] = [status, get, apply, remove];
