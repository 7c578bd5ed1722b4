export {
  SecretManager,
  type SecretManagerOptions,
  type Sign,
  type WorkloadSecret,
} from "./secret-manager.ts";
