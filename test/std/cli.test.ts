import { expect, test } from "bun:test";
import { parseArgs } from "@std/cli/parse-args";
import { unicodeWidth } from "@std/cli/unicode-width";
import { ProgressBar } from "@std/cli/unstable-progress-bar";

const cases: [title: string, words: string, options: Parameters<typeof parseArgs>[1], expected: object][] = [
  [
    "dotted keys nest",
    "--train.batchSize 32 --train.lr=4e-4 --seed 7",
    {},
    { train: { batchSize: 32, lr: 4e-4 }, seed: 7, _: [] },
  ],
  [
    "a negative number may follow its flag",
    "--shift -3 --x.lr -1e-3 -n -.5",
    {},
    { shift: -3, x: { lr: -1e-3 }, n: -0.5, _: [] },
  ],
  ["a flag without a value is true", "--resume --config a.jsonc", {}, { resume: true, config: "a.jsonc", _: [] }],
  [
    "a boolean flag takes no word",
    "--resume run1 --fast=false",
    { boolean: ["resume", "fast", "help"] },
    { resume: true, fast: false, help: false, _: ["run1"] },
  ],
  [
    "a boolean flag takes the words true and false",
    "--resume false --fast true",
    { boolean: ["resume", "fast"] },
    { resume: false, fast: true, _: [] },
  ],
  ["boolean: true makes every flag one", "--a b --c=d", { boolean: true }, { a: true, c: "d", _: ["b"] }],
  ["nothing after -- is a flag", "a --b 1 -- --c 2", {}, { b: 1, _: ["a", "--c", 2] }],
  ["what follows -- can be kept apart", "a -- --c 2", { "--": true }, { _: ["a"], "--": ["--c", "2"] }],
  [
    "a string flag keeps its text",
    "--name 007 --empty --tag=1e3",
    { string: ["name", "empty", "tag"] },
    { name: "007", empty: "", tag: "1e3", _: [] },
  ],
  ["a value may hold = and be empty", "--a=b=c --path=", {}, { a: "b=c", path: "", _: [] }],
  [
    "an alias is set under both names",
    "-h --model.dim 3",
    { alias: { help: "h", "model.dim": ["d"] }, boolean: "help" },
    { h: true, help: true, model: { dim: 3 }, d: 3, _: [] },
  ],
  ["collected values are an array", "--p a --p 2", { collect: ["p", "q"] }, { p: ["a", 2], q: [], _: [] }],
  ["negatable flags", "--no-packing --no-other", { negatable: "packing" }, { packing: false, "no-other": true, _: [] }],
  [
    "defaults, flat and nested",
    "--train.steps 2",
    { default: { "train.lr": 1, train: { steps: 9, clip: 1 }, seed: 3 } },
    { train: { steps: 2, lr: 1, clip: 1 }, seed: 3, _: [] },
  ],
  ["short flags in a row, with a value", "-ab -n5 -o=x -k v", {}, { a: true, b: true, n: 5, o: "x", k: "v", _: [] }],
  ["stopEarly leaves the rest as words", "--a 1 run --b 2", { stopEarly: true }, { a: 1, _: ["run", "--b", "2"] }],
  ["hexadecimal is a number, a version is not", "--a 0x10 --b 1.2.3 5", {}, { a: 16, b: "1.2.3", _: [5] }],
];
for (const [title, words, options, expected] of cases)
  test(`parseArgs: ${title}`, () => expect(parseArgs(words.split(" "), options)).toEqual(expected as never));

test("parseArgs hands unknown flags to unknown, and leaves out those it answers false for", () => {
  const seen: unknown[] = [];
  const unknown = (arg: string, key?: string, value?: unknown) => {
    seen.push([arg, key, value]);
    return false;
  };
  expect(parseArgs(["--known", "1", "--odd=2", "word"], { string: "known", unknown })).toEqual({ known: "1", _: [] });
  expect(seen).toEqual([
    ["--odd=2", "odd", "2"],
    ["word", undefined, undefined],
  ]);
});

test("parseArgs refuses a key that is a value and a group", () => {
  expect(() => parseArgs(["--a", "1", "--a.b", "2"])).toThrow("--a.b: a has already been given the value 1");
});

test("parseArgs does not reach a prototype", () => {
  expect(() => parseArgs(["--__proto__.polluted", "1"])).toThrow('"__proto__" cannot be a key');
  parseArgs(["--constructor.prototype.polluted", "1"]);
  expect("polluted" in {}).toBe(false);
});

test("unicodeWidth counts columns as Bun.stringWidth does", () => {
  const texts = [
    "",
    "loss 3.2",
    "人类大脑的主要功能",
    "ｆｕｌｌ，：",
    "한국어",
    "カタカナ",
    "é e\u0301",
    "🚀 ok",
    "│█░",
    "𠀀",
    "½ ×",
  ];
  for (const text of texts) expect([text, unicodeWidth(text)]).toEqual([text, Bun.stringWidth(text)]);
});

function sink() {
  const text: string[] = [];
  const writable = new WritableStream<Uint8Array>({
    write: (chunk) => void text.push(new TextDecoder().decode(chunk)),
  });
  return { text, writable };
}

test("ProgressBar draws its start and its end", async () => {
  const { text, writable } = sink();
  const bar = new ProgressBar({ max: 2048, writable, barLength: 10 });
  bar.value = 1024;
  await bar.stop();
  expect(text.join("")).toBe(
    "\r\u001b[K[00:00] [----------] [0.00/2.00 KiB]\r\u001b[K[00:00] [#####-----] [1.00/2.00 KiB]\n",
  );
});

test("ProgressBar takes a format, can be cleared, and survives a writer that fails", async () => {
  const { text, writable } = sink();
  const bar = new ProgressBar({ max: 4, value: 1, writable, clear: true, fmt: (x) => `${x.value} of ${x.max}` });
  await bar.stop();
  expect(text.join("")).toBe("\r\u001b[K1 of 4\r\u001b[K");
  const broken = new WritableStream<Uint8Array>({ write: () => Promise.reject(new Error("pipe")) });
  await new ProgressBar({ max: 4, writable: broken }).stop();
});
