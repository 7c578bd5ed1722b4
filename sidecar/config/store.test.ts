import { describe, expect, test } from "vitest";
import { TestClock } from "#lib/clock.ts";
import { recorded, recordedAbsent } from "./recorded.ts";
import { ConfigStore, TYPE_URL } from "./store.ts";

describe.skipIf(recordedAbsent !== false)("warming", () => {
  test("a listener waits for its routes, but not for ever", () => {
    const clock = new TestClock();
    const store = new ConfigStore({ clock, warmMs: 1000 });
    store.update({
      typeUrl: TYPE_URL.listener,
      resources: recorded("productpage-delta", "Listener"),
      full: true,
    });
    expect(store.interest(TYPE_URL.routes)).toEqual(["9080"]);
    expect(store.current.listeners.has("0.0.0.0_9080")).toBe(false);
    expect(store.current.listeners.has("virtualInbound")).toBe(true);
    clock.advance(1001);
    expect(store.current.listeners.has("0.0.0.0_9080")).toBe(true);
  });

  test("a broken resource is refused and the last good one stays", () => {
    const store = new ConfigStore();
    const good = recorded("productpage-delta", "RouteConfiguration");
    expect(store.update({ typeUrl: TYPE_URL.routes, resources: good }).errors).toEqual([]);
    const bad = good.map((any) => ({ ...any, value: any.value.subarray(0, 40) }));
    expect(store.update({ typeUrl: TYPE_URL.routes, resources: bad }).errors).toHaveLength(1);
    expect(store.current.routeTables.has("9080")).toBe(true);
  });
});
