import { also, idle, oneIn, quantity, seconds } from "../pod/fields.ts";
import { labelSelector } from "../pod/metadata.ts";
import { int, list, object, oneOf, required, str } from "../schema.ts";

const target = also(
  object({
    type: required(oneOf("Utilization", "AverageValue", "Value")),
    averageUtilization: int(1),
    averageValue: quantity,
    value: quantity,
  }),
  (value, path, report) => oneIn(value, ["averageUtilization", "averageValue", "value"], path, report),
);
const metric = required(object({ name: required(str), selector: labelSelector }));
const scaleTarget = object({ apiVersion: str, kind: required(str), name: required(str) });

const rules = object({
  stabilizationWindowSeconds: seconds(),
  selectPolicy: oneOf("Max", "Min", "Disabled"),
  policies: list(
    object({
      type: required(oneOf("Pods", "Percent")),
      value: required(int(1)),
      periodSeconds: required(seconds(1)),
    }),
  ),
  tolerance: quantity,
});

/** autoscaling/v2 (kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/). */
export const horizontalPodAutoscalerSpec = also(
  object({
    scaleTargetRef: required(scaleTarget),
    minReplicas: int(),
    maxReplicas: required(int(1)),
    metrics: list(
      also(
        object({
          type: required(oneOf("Resource", "ContainerResource", "Pods", "Object", "External")),
          resource: object({ name: required(str), target: required(target) }),
          containerResource: object({
            name: required(str),
            container: required(str),
            target: required(target),
          }),
          pods: object({ metric, target: required(target) }),
          object: object({ describedObject: required(scaleTarget), metric, target: required(target) }),
          external: idle(
            object({ metric, target: required(target) }),
            "a local mesh has no metrics from elsewhere",
          ),
        }),
        ({ type, ...sources }, path, report) => {
          const field = `${type.slice(0, 1).toLowerCase()}${type.slice(1)}`;
          if ((sources as Record<string, unknown>)[field] === undefined)
            report([...path, field], "missing-field", `a metric of type ${type} needs the field "${field}"`);
        },
      ),
    ),
    behavior: object({ scaleUp: rules, scaleDown: rules }),
  }),
  ({ minReplicas = 1, maxReplicas }, path, report) => {
    if (maxReplicas < minReplicas)
      report(
        [...path, "maxReplicas"],
        "invalid-value",
        `must be at least minReplicas, ${minReplicas}, not ${maxReplicas}`,
      );
  },
);
