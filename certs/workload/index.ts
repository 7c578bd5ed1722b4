export { SecretManager, type Sign, type WorkloadSecret } from "./secret-manager.ts";
