import type { Path, Report } from "../schema.ts";

interface Container {
  readonly name?: string | undefined;
  readonly ports?: readonly ({ readonly name?: string | undefined } | undefined)[] | undefined;
  readonly volumeMounts?:
    | readonly ({ readonly name?: string | undefined; readonly mountPath?: string | undefined } | undefined)[]
    | undefined;
  readonly livenessProbe?: Probe | undefined;
  readonly readinessProbe?: Probe | undefined;
  readonly startupProbe?: Probe | undefined;
  readonly lifecycle?:
    | { readonly postStart?: Probe | undefined; readonly preStop?: Probe | undefined }
    | undefined;
}
interface Probe {
  readonly httpGet?: { readonly port?: number | string | undefined } | undefined;
  readonly tcpSocket?: { readonly port?: number | string | undefined } | undefined;
}
interface Spec {
  readonly containers?: readonly (Container | undefined)[] | undefined;
  readonly initContainers?: readonly (Container | undefined)[] | undefined;
  readonly volumes?: readonly ({ readonly name?: string | undefined } | undefined)[] | undefined;
}

/** What the parts of a pod call each other: names are unique, and what is named is there. */
export function checkNames(spec: Spec, path: Path, report: Report): void {
  if (spec.containers?.length === 0)
    report([...path, "containers"], "invalid-value", "is empty: name at least one container");
  const containers = new Set<string>();
  const volumes = unique(spec.volumes ?? [], [...path, "volumes"], new Set(), report);
  for (const field of ["initContainers", "containers"] as const) {
    const list = spec[field] ?? [];
    unique(list, [...path, field], containers, report);
    for (const [i, container] of list.entries())
      if (container !== undefined) checkContainer(container, volumes, [...path, field, i], report);
  }
}

function unique(
  items: readonly ({ readonly name?: string | undefined } | undefined)[],
  path: Path,
  seen: Set<string>,
  report: Report,
): Set<string> {
  for (const [i, item] of items.entries()) {
    const name = item?.name;
    if (name === undefined || name === "") continue;
    if (seen.has(name)) report([...path, i, "name"], "duplicate", `"${name}" stands twice: rename one`);
    seen.add(name);
  }
  return seen;
}

function checkContainer(c: Container, volumes: ReadonlySet<string>, path: Path, report: Report): void {
  const ports = unique(c.ports ?? [], [...path, "ports"], new Set(), report);
  const known = [...ports].join(", ") || "none";
  const checkPort = (probe: Probe | undefined, at: Path): void => {
    for (const kind of ["httpGet", "tcpSocket"] as const) {
      const port = probe?.[kind]?.port;
      if (typeof port === "string" && !ports.has(port))
        report(
          [...at, kind, "port"],
          "unknown-port",
          `the container has no port named "${port}" (named: ${known})`,
        );
    }
  };
  for (const probe of ["livenessProbe", "readinessProbe", "startupProbe"] as const)
    checkPort(c[probe], [...path, probe]);
  for (const hook of ["postStart", "preStop"] as const)
    checkPort(c.lifecycle?.[hook], [...path, "lifecycle", hook]);
  const mounted = new Set<string>();
  for (const [i, mount] of (c.volumeMounts ?? []).entries()) {
    if (mount?.name !== undefined && !volumes.has(mount.name))
      report(
        [...path, "volumeMounts", i, "name"],
        "unknown-volume",
        `the pod has no volume "${mount.name}" (volumes: ${[...volumes].join(", ") || "none"})`,
      );
    const where = mount?.mountPath;
    if (where === undefined) continue;
    if (mounted.has(where))
      report([...path, "volumeMounts", i, "mountPath"], "duplicate", `${where} is mounted twice`);
    mounted.add(where);
  }
}
