import { MicroMindError } from "../device/errors.ts";

/** A config key, flag, preset or config file that cannot be used. `main` prints it and exits with code 2. */
export class ConfigError extends MicroMindError {}

/** Loss or gradients were not finite several steps in a row; the message is a report. */
export class DivergedError extends MicroMindError {}

/** Not an error: the program is done early, as after `--help`. `main` exits with the code and prints nothing. */
export class Exit extends Error {
  constructor(readonly code: number) {
    super(`exit ${code}`);
  }
}
