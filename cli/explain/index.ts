export { explain as walk } from "./explain.ts";
export { parseRequest } from "./head.ts";
export { show } from "./show.ts";
export { MeshView } from "./view.ts";
