import { tempDir } from "../index.ts";

/** One folder for the whole run holds everything temporary of all workers, and goes when the run ends, even where they were killed. */
export default function setup() {
  process.env.TMPDIR = tempDir("run");
}
