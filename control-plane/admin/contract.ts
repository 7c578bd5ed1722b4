/** What the admin socket answers (docs/contracts.md). Imports nothing: windows and tests share it. */

export interface StatusAnswer {
  /** Version of the world, as in WorldAnswer. */
  readonly world: string;
  readonly proxies: readonly {
    readonly nodeId: string;
    readonly connected: boolean;
    readonly types: Readonly<
      Record<string, { readonly sent: string; readonly acked: string; readonly nack?: string | null }>
    >;
  }[];
}

export interface ListedObject {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  readonly source: { readonly file: string; readonly line: number };
  readonly warnings: readonly string[];
}
export interface ObjectsAnswer {
  readonly objects: readonly ListedObject[];
}

/** "Kind namespace/name" each; "Kind name" for cluster-scoped kinds. */
export interface AppliedAnswer {
  readonly applied: readonly string[];
}
export interface DeletedAnswer {
  readonly deleted: string;
}

export interface WorldAnswer {
  readonly version: string;
  /** Objects by kind. */
  readonly counts: Readonly<Record<string, number>>;
  readonly errors: readonly string[];
  readonly warnings: readonly string[];
}

/** Type URL -> resources as proto3 JSON. */
export type XdsAnswer = Readonly<Record<string, readonly unknown[]>>;

export interface HealthAnswer {
  readonly ok: boolean;
}
/** Every answer from 400 up carries one of these. */
export interface ErrorAnswer {
  readonly error: string;
}
export interface ErrorsAnswer {
  readonly errors: readonly string[];
}
