import { podTemplate } from "../pod/spec.ts";
import { int, labels, object, required } from "../schema.ts";

export const deploymentSpec = object(
  {
    replicas: int(),
    selector: required(object({ matchLabels: labels }, { open: true })),
    template: required(podTemplate),
  },
  { open: true },
);
