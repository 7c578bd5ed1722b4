import { bool, type Infer, list, map, object, oneOf, required, str, unlessEmpty } from "../schema.ts";
import { container, initContainer } from "./container.ts";
import { also, anything, idle, label, objectName, quantity, seconds } from "./fields.ts";
import { objectMeta } from "./metadata.ts";
import { checkNames } from "./names.ts";
import { podSecurityContext } from "./security-context.ts";
import { volume } from "./volume.ts";

const ONE_NODE = "a local mesh has one node, and every pod runs on it";
const off = (value: boolean): boolean => !value;

/**
 * Every field of Kubernetes 1.34's PodSpec: carried out by `local/`, which reads it from `raw`, or told. Fields that can
 * change nothing on one machine (tolerations, priorities, pull secrets) are taken without a word.
 */
const fields = object({
  containers: required(list(container)),
  initContainers: list(initContainer),
  ephemeralContainers: idle(anything, "use `weft exec` to look into a pod of a local mesh"),
  volumes: list(volume),
  restartPolicy: oneOf("Always", "OnFailure", "Never"),
  terminationGracePeriodSeconds: seconds(),
  activeDeadlineSeconds: seconds(1),
  serviceAccountName: unlessEmpty(objectName),
  serviceAccount: unlessEmpty(objectName),
  automountServiceAccountToken: idle(
    bool,
    "no Kubernetes API and no token of it in a local pod; a projected serviceAccountToken volume gives the mesh's own",
    off,
  ),
  hostname: label,
  subdomain: label,
  hostnameOverride: idle(str, "write hostname"),
  setHostnameAsFQDN: idle(bool, "the host name of a local pod is its short name", off),
  hostAliases: list(object({ ip: required(str), hostnames: list(str) })),
  dnsPolicy: idle(
    oneOf("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"),
    "pods of a local mesh look up names as with ClusterFirst",
    (v) => v.startsWith("ClusterFirst"),
  ),
  dnsConfig: idle(
    object({
      nameservers: list(str),
      searches: list(str),
      options: list(object({ name: str, value: str })),
    }),
    "pods of a local mesh look up names as with ClusterFirst",
  ),
  enableServiceLinks: idle(
    bool,
    "pods of a local mesh always have the variables of Services, <NAME>_SERVICE_HOST",
    (v) => v,
  ),
  hostNetwork: idle(bool, "a pod of a local mesh has its own address, also with hostNetwork", off),
  hostPID: idle(bool, "the processes of a local mesh are processes of this machine", (v) => v || !v),
  hostIPC: idle(bool, "the processes of a local mesh share the machine's IPC", (v) => v || !v),
  hostUsers: idle(bool, "processes of a local mesh run as the user who started it", (v) => v),
  shareProcessNamespace: idle(bool, "", (v) => v || !v),
  securityContext: podSecurityContext,
  nodeName: idle(str, ONE_NODE),
  nodeSelector: idle(map(str), ONE_NODE, isEmpty),
  affinity: idle(
    object({ nodeAffinity: anything, podAffinity: anything, podAntiAffinity: anything }),
    ONE_NODE,
    isEmpty,
  ),
  topologySpreadConstraints: idle(list(anything), ONE_NODE, (v) => v.length === 0),
  os: idle(object({ name: str }), "programs run on this machine's system", ({ name }) => name === "linux"),
  resources: idle(
    object({ limits: map(quantity), requests: map(quantity), claims: anything }),
    "limits of a local mesh are those of the containers",
  ),
  overhead: idle(map(quantity), "limits of a local mesh are those of the containers", isEmpty),
  resourceClaims: idle(anything, "a local mesh allocates no devices"),
  readinessGates: idle(
    list(object({ conditionType: str })),
    "nothing sets conditions of other makers on a local mesh: the pod is ready without them",
    (v) => v.length === 0,
  ),
  schedulingGates: idle(
    list(object({ name: str })),
    "pods of a local mesh start at once",
    (v) => v.length === 0,
  ),
  runtimeClassName: idle(str, "containers of a local mesh are plain processes"),
  schedulerName: idle(str, ONE_NODE, (v) => v === "default-scheduler"),
  workloadRef: idle(anything, ONE_NODE),
  tolerations: list(
    object({ key: str, operator: str, value: str, effect: str, tolerationSeconds: anything }),
  ),
  imagePullSecrets: list(object({ name: str })),
  priority: anything,
  priorityClassName: str,
  preemptionPolicy: str,
});
/** A pod that stands for itself. */
export const podSpec = also(fields, checkNames);

function isEmpty(value: object): boolean {
  return Object.values(value).every((v) => v === undefined);
}

export const podStatus = object(
  {
    phase: str,
    podIP: str,
    conditions: list(object({ type: str, status: str }, { open: true })),
  },
  { open: true },
);
export type PodStatus = Infer<typeof podStatus>;

export const podTemplate = object({ metadata: objectMeta, spec: required(podSpec) });
/** Its names are still to be checked: whoever makes pods of it may add volumes. */
export const openPodTemplate = object({ metadata: objectMeta, spec: required(fields) });
