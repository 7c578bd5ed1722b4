import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { expect, test } from "vitest";

/** Opens ports as somebody who may not open those below 1024, whoever runs the test, and says what came of it. */
function openAs(ports: readonly number[]): string {
  const script = `
    import { HostPorts } from ${JSON.stringify(join(import.meta.dirname, "host-ports.ts"))};
    if (process.getuid() === 0) process.setuid(65534);
    const ports = new HostPorts(() => { throw new Error("nobody calls"); });
    const service = (port) => ({ apiVersion: "v1", kind: "Service", metadata: { name: "s" + port }, source: { file: "s.yaml", line: 2 },
      spec: { type: "LoadBalancer", selector: { app: "a" }, ports: [{ port }] } });
    try {
      await ports.update(${JSON.stringify(ports)}.map(service), () => []);
      console.log(JSON.stringify(ports.open));
    } catch (error) {
      console.log(error.message);
    }
    process.exit();`;
  const args = ["--input-type=module-typescript", "-e", script];
  const { stdout, stderr } = spawnSync(process.execPath, args, { encoding: "utf8" });
  return stdout.trim() || stderr;
}

test("a port below 1024 that may not be opened is found 8000 higher, unless that is wanted, too", () => {
  const service = (servicePort: number, port: number) => ({
    port,
    service: `default/s${servicePort}`,
    servicePort,
  });
  expect(JSON.parse(openAs([987, 43_219]))).toEqual([service(987, 8987), service(43_219, 43_219)]);
  expect(openAs([987, 8987])).toMatch(
    /^s\.yaml:2: Service default\/s987: port 127\.0\.0\.1:987 cannot be opened \(.*EACCES.*\); stop what uses it or change the Service's port$/,
  );
});
