import process from "node:process";
import { MicroMindError } from "../device/errors.ts";
import { ConfigError, Exit } from "./errors.ts";
import { leaveLiveLine } from "./live.ts";

/**
 * Runs a recipe as a program: `await main(async () => { … })`. An error that a user can act on is printed as a line, any other with its
 * stack; then the process ends, whatever the GPU still holds.
 * Exit codes: 0 done, 1 failed, 2 wrong config, 130 stopped by Ctrl-C.
 */
export async function main(recipe: () => void | Promise<void>): Promise<void> {
  // A reader that has gone (`| head`) is no reason to lose a run.
  for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {});
  let code = 0;
  try {
    await recipe();
    code = Number(process.exitCode ?? 0);
  } catch (error) {
    code = report(error);
  }
  leaveLiveLine();
  await Promise.all([process.stdout, process.stderr].map(flushed));
  process.exit(code);
}

/** Prints an error to stderr and gives the exit code that goes with it. */
export function report(error: unknown, write = (text: string): unknown => process.stderr.write(text)): number {
  if (error instanceof Exit) return error.code;
  leaveLiveLine();
  if (error instanceof Error && isTyped(error)) write(`error: ${error.message}\n`);
  else write(`error: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  return error instanceof ConfigError ? 2 : 1;
}

/** Errors with a class of their own are written for users; JavaScript's own are mistakes of ours. */
function isTyped(error: Error): boolean {
  const builtIn = [Error, TypeError, RangeError, SyntaxError, ReferenceError, EvalError, URIError, AggregateError];
  return error instanceof MicroMindError || !builtIn.some((kind) => error.constructor === kind);
}

const flushed = (stream: NodeJS.WriteStream) =>
  new Promise<void>((done) => {
    if (stream.destroyed || !stream.writable) done();
    else stream.write("", () => done());
  });
