/** One node, all by environment. */
import { runNode } from "./run.ts";

await runNode(process.env);
