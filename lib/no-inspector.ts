/**
 * Node opens its inspector, and with it the process's memory and keys, to whoever on the machine may send a signal. With
 * a listener for SIGUSR1 it does not.
 */
export function refuseInspector(): void {
  process.on("SIGUSR1", () => {});
}
