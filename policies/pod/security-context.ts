import { bool, int, list, object, str } from "../schema.ts";
import { idle } from "./fields.ts";

const seLinuxOptions = object({ level: str, role: str, type: str, user: str });
const profile = object({ type: str, localhostProfile: str });
const id = int(0, 2 ** 31 - 1);
const BOTH = {
  runAsUser: id,
  runAsGroup: id,
  runAsNonRoot: bool,
  seLinuxOptions,
  seccompProfile: profile,
  appArmorProfile: profile,
  windowsOptions: object({}, { open: true }),
} as const;

const why =
  "processes of a local mesh run as the user who started it, with that user's rights: securityContext is for Kubernetes";
const isEmpty = (value: object): boolean => Object.values(value).every((v) => v === undefined);

export const podSecurityContext = idle(
  object({
    ...BOTH,
    fsGroup: id,
    fsGroupChangePolicy: str,
    seLinuxChangePolicy: str,
    supplementalGroups: list(id),
    supplementalGroupsPolicy: str,
    sysctls: list(object({ name: str, value: str })),
  }),
  why,
  isEmpty,
);

export const containerSecurityContext = idle(
  object({
    ...BOTH,
    allowPrivilegeEscalation: bool,
    capabilities: object({ add: list(str), drop: list(str) }),
    privileged: bool,
    procMount: str,
    readOnlyRootFilesystem: bool,
  }),
  why,
  isEmpty,
);
