export { type Authenticate, AuthenticationError, type Caller, createAuthenticate } from "./authenticate.ts";
export { addCaService, type CaServiceOptions } from "./service.ts";
