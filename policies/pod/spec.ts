import { type Infer, labels, list, object, port, required, str } from "../schema.ts";

/** Only what the mesh reads; the pod's other fields are Kubernetes' (and `local/` reads them from `raw`). */
export const podSpec = object(
  {
    serviceAccountName: str,
    containers: required(
      list(
        object(
          {
            name: str,
            ports: list(object({ name: str, containerPort: required(port), protocol: str }, { open: true })),
          },
          { open: true },
        ),
      ),
    ),
  },
  { open: true },
);

export const podStatus = object(
  {
    phase: str,
    podIP: str,
    conditions: list(object({ type: str, status: str }, { open: true })),
  },
  { open: true },
);
export type PodStatus = Infer<typeof podStatus>;

export const podTemplate = object(
  { metadata: object({ labels, annotations: labels }, { open: true }), spec: required(podSpec) },
  { open: true },
);
