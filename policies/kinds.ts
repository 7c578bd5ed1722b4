import { authorizationPolicySpec } from "./authorization-policy/spec.ts";
import { configMapSpec } from "./config-map/spec.ts";
import { cronJobSpec } from "./cron-job/spec.ts";
import { daemonSetSpec } from "./daemon-set/spec.ts";
import { deploymentSpec } from "./deployment/spec.ts";
import { destinationRuleSpec } from "./destination-rule/spec.ts";
import { endpointSliceSpec } from "./endpoint-slice/spec.ts";
import { gatewaySpec } from "./gateway/spec.ts";
import { gatewayClassSpec, kubeGatewaySpec } from "./gateway-api/spec.ts";
import { horizontalPodAutoscalerSpec } from "./horizontal-pod-autoscaler/spec.ts";
import { kubeHttpRouteSpec } from "./http-route/spec.ts";
import { ipAddressSpec } from "./ip-address/spec.ts";
import { jobSpec } from "./job/spec.ts";
import { namespaceSpec } from "./namespace/spec.ts";
import { peerAuthenticationSpec } from "./peer-authentication/spec.ts";
import { persistentVolumeClaimSpec } from "./persistent-volume-claim/spec.ts";
import { podSpec } from "./pod/spec.ts";
import { referenceGrantSpec } from "./reference-grant/spec.ts";
import { replicaSetSpec } from "./replica-set/spec.ts";
import type { Infer } from "./schema.ts";
import { secretSpec } from "./secret/spec.ts";
import { serviceSpec } from "./service/spec.ts";
import { serviceAccountSpec } from "./service-account/spec.ts";
import { serviceEntrySpec } from "./service-entry/spec.ts";
import { statefulSetSpec } from "./stateful-set/spec.ts";
import { virtualServiceSpec } from "./virtual-service/spec.ts";

/** group/Kind -> its spec, accepted versions, scope. The one list of what Weft understands. */
export const KINDS = {
  "/Namespace": { spec: namespaceSpec, versions: ["v1"], namespaced: false },
  "/Service": { spec: serviceSpec, versions: ["v1"], namespaced: true },
  "/ServiceAccount": { spec: serviceAccountSpec, versions: ["v1"], namespaced: true },
  "/Pod": { spec: podSpec, versions: ["v1"], namespaced: true },
  "/ConfigMap": { spec: configMapSpec, versions: ["v1"], namespaced: true },
  "/Secret": { spec: secretSpec, versions: ["v1"], namespaced: true },
  "/PersistentVolumeClaim": { spec: persistentVolumeClaimSpec, versions: ["v1"], namespaced: true },
  "apps/Deployment": { spec: deploymentSpec, versions: ["v1"], namespaced: true },
  "apps/ReplicaSet": { spec: replicaSetSpec, versions: ["v1"], namespaced: true },
  "apps/StatefulSet": { spec: statefulSetSpec, versions: ["v1"], namespaced: true },
  "apps/DaemonSet": { spec: daemonSetSpec, versions: ["v1"], namespaced: true },
  "batch/Job": { spec: jobSpec, versions: ["v1"], namespaced: true },
  "batch/CronJob": { spec: cronJobSpec, versions: ["v1"], namespaced: true },
  "autoscaling/HorizontalPodAutoscaler": {
    spec: horizontalPodAutoscalerSpec,
    versions: ["v2"],
    namespaced: true,
  },
  "discovery.k8s.io/EndpointSlice": { spec: endpointSliceSpec, versions: ["v1"], namespaced: true },
  "networking.k8s.io/IPAddress": { spec: ipAddressSpec, versions: ["v1", "v1beta1"], namespaced: false },
  "networking.istio.io/VirtualService": {
    spec: virtualServiceSpec,
    versions: ["v1", "v1beta1", "v1alpha3"],
    namespaced: true,
  },
  "networking.istio.io/DestinationRule": {
    spec: destinationRuleSpec,
    versions: ["v1", "v1beta1", "v1alpha3"],
    namespaced: true,
  },
  "networking.istio.io/Gateway": {
    spec: gatewaySpec,
    versions: ["v1", "v1beta1", "v1alpha3"],
    namespaced: true,
  },
  "networking.istio.io/ServiceEntry": {
    spec: serviceEntrySpec,
    versions: ["v1", "v1beta1", "v1alpha3"],
    namespaced: true,
  },
  "security.istio.io/PeerAuthentication": {
    spec: peerAuthenticationSpec,
    versions: ["v1", "v1beta1"],
    namespaced: true,
  },
  "security.istio.io/AuthorizationPolicy": {
    spec: authorizationPolicySpec,
    versions: ["v1", "v1beta1"],
    namespaced: true,
  },
  "gateway.networking.k8s.io/Gateway": {
    spec: kubeGatewaySpec,
    versions: ["v1", "v1beta1"],
    namespaced: true,
  },
  "gateway.networking.k8s.io/GatewayClass": {
    spec: gatewayClassSpec,
    versions: ["v1", "v1beta1"],
    namespaced: false,
  },
  "gateway.networking.k8s.io/HTTPRoute": {
    spec: kubeHttpRouteSpec,
    versions: ["v1", "v1beta1"],
    namespaced: true,
  },
  "gateway.networking.k8s.io/ReferenceGrant": {
    spec: referenceGrantSpec,
    versions: ["v1", "v1beta1"],
    namespaced: true,
  },
} as const;
export type KindKey = keyof typeof KINDS;
export type SpecOf<K extends KindKey> = Infer<(typeof KINDS)[K]["spec"]>;
/** Kinds whose fields stand beside `metadata` instead of under `spec`. */
export const WITHOUT_SPEC: ReadonlySet<string> = new Set([
  "discovery.k8s.io/EndpointSlice",
  "/ServiceAccount",
  "/Namespace",
  "/ConfigMap",
  "/Secret",
]);
