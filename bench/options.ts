/** What `bun bench` is asked for: every flag known, every number a number. */
import { parseArgs } from "@std/cli/parse-args";
import { optim, presets } from "../framework/index.ts";
import type { StepOptions } from "./step.ts";

/** What is wrong with the command line, in a line. */
export class UsageError extends Error {}

export interface Options {
  /** Names of benches, or the number of a soak's steps. */
  words: string[];
  flags: Record<(typeof flags)[number], boolean>;
  step: Required<StepOptions>;
  streams: number[];
  tokens: number;
  /** Undefined where no comparison is asked for. */
  peers: string[] | undefined;
  sizes: string[];
  /** Seconds. */
  budget: number;
  soakSteps: number;
}

const flags = [
  ...(["json", "step", "decode", "help", "list", "soak", "memory", "checkpointing", "tune", "dry", "compile"] as const),
];
const values = {
  ...{ preset: "tiny", batch: "8", length: "128", precision: "f32", streams: "1,8,64", tokens: "128" },
  ...{ sizes: "", budget: "120", peers: undefined as string | undefined },
};

/** The command line as `parseArgs` reads it. */
type Given = typeof values & Options["flags"] & { _: (string | number)[] };

/** @throws UsageError */
export function parseOptions(args: readonly string[]): Options {
  const known = [...flags, ...Object.keys(values)];
  const given = parseArgs(args, {
    boolean: [...flags],
    string: Object.keys(values),
    default: values,
    unknown(arg) {
      if (arg.startsWith("-"))
        throw new UsageError(`${arg} is not known; bun bench --help lists ${known.map((k) => `--${k}`).join(" ")}`);
    },
  }) as unknown as Given;
  const { preset, precision, checkpointing, peers } = given;
  if (!presets[preset]) throw new UsageError(`--preset ${preset} is none of ${Object.keys(presets).join(", ")}`);
  if (!optim.precisions.includes(precision as optim.Precision))
    throw new UsageError(`--precision ${precision} is none of ${optim.precisions.join(", ")}`);
  if (!given.help) refuseMixed(given);
  const most = presets[preset].max_position_embeddings ?? 32768;
  const length = count("length", given.length, most);
  const list = (text: string) => text.split(",").filter(Boolean);
  const words = given._.map(String);
  const streams = list(given.streams).map((text) => count("streams", text, 65536));
  if (streams.length === 0) throw new UsageError("--streams: expected numbers, such as 1,8,64");
  const tokens = count("tokens", given.tokens, most, 2);
  if (given.decode && length + tokens > most + 1)
    throw new UsageError(
      `--length ${length} and --tokens ${tokens} are more than ${preset}'s ${most} positions and one`,
    );
  return {
    words,
    flags: Object.fromEntries(flags.map((name) => [name, given[name]])) as Options["flags"],
    step: {
      ...{ preset, precision: precision as optim.Precision, checkpointing, length },
      batch: count("batch", given.batch, 65536),
    },
    streams,
    tokens,
    peers: peers === undefined ? undefined : list(peers),
    sizes: list(given.sizes),
    budget: seconds(given.budget),
    soakSteps: given.soak && words.length ? count("soak", words[0], 1e9, 20) : 2000,
  };
}

/** What of a command line would be left out without a word. */
function refuseMixed({ step, decode, soak, memory, tune, dry, compile, peers, sizes, _: words }: Given): void {
  const all = Object.entries({ step, decode, soak, memory, tune, compile, peers: peers !== undefined });
  const modes = all.flatMap(([name, is]) => (is ? [name] : []));
  if (modes.length > 1 && modes.join() !== "step,tune")
    throw new UsageError(`--${modes.join(" --")} are measured one by one; give one of them (or --tune --step)`);
  if (dry && !tune) throw new UsageError("--dry is for --tune: it keeps nothing");
  if (sizes && peers === undefined) throw new UsageError("--sizes is for --peers");
  if (words.length && (step || decode || memory || peers !== undefined))
    throw new UsageError(`--${modes.join(" --")} takes no names; ${words.join(", ")} would be left out`);
}

function count(name: string, text: string, most: number, least = 1): number {
  const value = Number(text);
  if (text === "" || !Number.isInteger(value) || value < least || value > most)
    throw new UsageError(`--${name} ${text || '""'}: expected a whole number from ${least} to ${most}`);
  return value;
}

function seconds(text: string): number {
  const value = Number(text);
  if (text === "" || !(value > 0 && value < 1e6))
    throw new UsageError(`--budget ${text || '""'}: expected seconds, more than 0`);
  return value;
}
