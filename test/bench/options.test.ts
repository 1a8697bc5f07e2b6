import { expect, test } from "bun:test";
import { parseOptions } from "../../bench/options.ts";

test("flags, names and numbers are read", () => {
  const { words, flags, step, streams, peers, budget } = parseOptions(
    "matmul rope --tune --batch 4 --precision f16 --streams 1,8 --budget 2.5".split(" "),
  );
  expect(words).toEqual(["matmul", "rope"]);
  expect([flags.tune, flags.decode]).toEqual([true, false]);
  expect(step).toEqual({ preset: "tiny", precision: "f16", checkpointing: false, batch: 4, length: 128 });
  expect([streams, peers, budget]).toEqual([[1, 8], undefined, 2.5]);
  expect(parseOptions(["--peers"]).peers).toEqual([]);
  expect(parseOptions("--tune --step --dry".split(" ")).flags).toMatchObject({ tune: true, step: true, dry: true });
  expect(parseOptions("--help --step --decode".split(" ")).flags.help).toBe(true);
  expect(parseOptions("--decode --length 1000 --tokens 25".split(" ")).tokens).toBe(25);
});

test.each([
  ["--presett tiny", "--presett is not known"],
  ["--preset nix", "--preset nix is none of tiny,"],
  ["--precision bf16", "--precision bf16 is none of f32, f16"],
  ["--batch NaN", "--batch NaN: expected a whole number from 1 to 65536"],
  ["--length 1.5", "--length 1.5: expected a whole number from 1 to 1024"],
  ["--streams 1,a", "--streams a: expected a whole number"],
  ["--budget 0", "--budget 0: expected seconds, more than 0"],
  ["--streams=", "--streams: expected numbers, such as 1,8,64"],
  ["--decode --length 1000 --tokens 26", "--length 1000 and --tokens 26 are more than tiny's 1024 positions and one"],
  ["--tune --decode", "--decode --tune are measured one by one"],
  ["--tune --step --soak", "--step --soak --tune are measured one by one"],
  ["--step --peers ours", "--step --peers are measured one by one"],
  ["--dry", "--dry is for --tune"],
  ["--sizes S1", "--sizes is for --peers"],
  ["--decode matmul", "--decode takes no names; matmul would be left out"],
  ["--soak 3", "--soak 3: expected a whole number from 20"],
])("refuses %p", (words, message) => expect(() => parseOptions(words.split(" "))).toThrow(message));
