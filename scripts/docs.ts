// Writes the pages under docs/ that are made of the code: `npm run docs`. test/docs holds that they are current.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fieldReference } from "./field-reference.ts";

writeFileSync(join(import.meta.dirname, "../docs/fields.md"), fieldReference());
