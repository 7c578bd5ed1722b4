export { createAuthenticate } from "./authenticate.ts";
export { addCaService } from "./service.ts";
