// hot path
/** A request head as the upstream will see it: with what the proxy adds and takes away before any policy is asked. */
import type { RequestHead } from "../http1/request-head.ts";
import type { HeadEdits } from "../http1/write-head.ts";
import type { HeadView } from "../snapshot.ts";

const NONE: readonly string[] = [];

/** One per connection; `wire` is set with each request. */
export class SeenHead implements HeadView {
  wire: RequestHead | null = null;
  readonly #edits: HeadEdits;

  constructor(edits: HeadEdits) {
    this.#edits = edits;
  }

  get method(): string {
    return this.wire!.method;
  }
  get path(): string {
    return this.wire!.path;
  }
  get authority(): string {
    return this.wire!.authority;
  }

  get(lowerName: string): string | null {
    if (!this.#edits.touches(lowerName)) return this.wire!.get(lowerName);
    const values = this.getAll(lowerName);
    return values.length === 0 ? null : values.join(",");
  }

  getAll(lowerName: string): readonly string[] {
    const edits = this.#edits;
    const wire = edits.removed.includes(lowerName) ? NONE : this.wire!.getAll(lowerName);
    if (!edits.adds(lowerName)) return wire;
    const values = wire.concat();
    for (let i = 0; i < edits.added.length; i += 2)
      if (edits.added[i] === lowerName) values.push(edits.added[i + 1]!);
    return values;
  }

  has(lowerName: string): boolean {
    const edits = this.#edits;
    return edits.adds(lowerName) || (!edits.removed.includes(lowerName) && this.wire!.has(lowerName));
  }
}
