/** For other programs of this project that start a node or look at its settings. */
export { runNode } from "./run.ts";
