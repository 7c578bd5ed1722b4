/** Results kept for as long as the object they were made from lives; the key says what else went in. */
export class Memo<T> {
  readonly #byObject = new WeakMap<object, Map<string, T>>();

  get(object: object, key: string, compute: () => T): T {
    let byKey = this.#byObject.get(object);
    if (byKey === undefined) {
      byKey = new Map();
      this.#byObject.set(object, byKey);
    }
    let value = byKey.get(key);
    if (value === undefined) {
      value = compute();
      byKey.set(key, value);
    }
    return value;
  }
}
