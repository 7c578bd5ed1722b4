/** Where a statement came from: the object and the line that made it. Every route, cluster policy and rule carries one. */
export interface SourceRef {
  readonly file: string;
  /** 1-based line of the statement (of the object where nothing narrower is known). */
  readonly line: number;
  /** API group without version; "" for the Kubernetes core group. */
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
}
