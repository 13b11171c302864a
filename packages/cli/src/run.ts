import { CommanderError } from "commander";
import { EXIT, Failure } from "./failure.ts";
import { type Io, paint } from "./io.ts";
import { buildProgram } from "./program.ts";

/** One command line, as typed after `carillon`. Resolves with the exit code. */
export async function run(args: readonly string[], io: Io): Promise<number> {
  const program = buildProgram(io);
  try {
    await program.parseAsync([...args], { from: "user" });
    return EXIT.ok;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage; // it has said why
    if (!(error instanceof Failure)) throw error;
    if (error.message !== "") io.err.write(`${paint(io.err, "red", "error:")} ${error.message}\n`);
    if (error.fix !== undefined) io.err.write(`${paint(io.err, "bold", "  fix:")} ${error.fix}\n`);
    return error.exitCode;
  }
}
