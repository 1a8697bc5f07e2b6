import { afterAll, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ConfigureOptions, configure, origin, runKeys } from "../../framework/run/config.ts";
import { ConfigError, Exit } from "../../framework/run/errors.ts";
import { configText } from "../../framework/run/folder.ts";
import { count, edits, key, nearest } from "../../framework/run/schema.ts";

const folder = mkdtempSync(join(tmpdir(), "config-"));
afterAll(() => rmSync(folder, { recursive: true }));

const schema = {
  data: {
    path: key("", "JSONL or text"),
    seqLen: count(128, "tokens per row", 2),
    shuffle: key(true, "mix documents"),
  },
  train: {
    steps: count(100, "steps"),
    learningRate: key(5e-4, "at the peak", { min: 0 }),
    dropout: key(0, "share of zeros", { min: 0, max: 1 }),
    schedule: key("cosine", "how the rate falls", { choices: ["cosine", "linear"] }),
  },
  sample: { prompts: key(["a", "b"], "openings") },
  ropeTheta: key(null, "base of the angles", { type: "number", min: 1 }),
  seed: count(1, "of all that is random", 0),
  run: runKeys(join(folder, "out/toy")),
};

function write(name: string, text: string): string {
  writeFileSync(join(folder, name), text);
  return join(folder, name);
}

write("fast.jsonc", '{ "train": { "steps": 10, }, /* a comment */ "seed": 5 }');
write("toy.own.jsonc", '{ "train.steps": 20 }');
write("other.theirs.jsonc", "{}");
write("broken.jsonc", '{ "train": { "step": 10 } }');

function read(line: string | string[], options: ConfigureOptions = {}) {
  const args = typeof line === "string" ? line.split(" ").filter((word) => word) : line;
  return configure("toy", schema, { presets: folder, args, print: () => {}, ...options });
}

function refusal(line: string | string[], options: ConfigureOptions = {}): string {
  try {
    read(line, options);
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return (error as Error).message;
  }
  throw new Error(`${line} was taken`);
}

test("without anything given the defaults count, typed", () => {
  const config = read("");
  const rate: number = config.train.learningRate;
  const schedule: "cosine" | "linear" = config.train.schedule;
  const theta: number | null = config.ropeTheta;
  const prompts: string[] = config.sample.prompts;
  expect([rate, schedule, theta, prompts]).toEqual([5e-4, "cosine", null, ["a", "b"]]);
  expect(config.run).toEqual({ dir: join(folder, "out/toy"), overwrite: false });
});

test("a preset counts over defaults, a file over the preset, a flag over the file", () => {
  const file = write("mine.jsonc", '{ "seed": 6, "data": { "shuffle": false } }');
  expect(read("--preset fast").train.steps).toBe(10);
  expect(read("--preset own").train.steps).toBe(20);
  expect(read("", { preset: "fast" }).seed).toBe(5);
  const config = read(`--preset fast --config ${file} --seed 7`);
  expect([config.train.steps, config.data.shuffle, config.seed]).toEqual([10, false, 7]);
});

test("flags give every type of value", () => {
  const line = ["--data.path=", "--no-data.shuffle", "--train.learningRate", "1e-3", "--train.schedule=linear"];
  const config = read([...line, "--sample.prompts", "一", "--sample.prompts=two words", "--ropeTheta", "1e4"]);
  expect(config.data).toEqual({ path: "", seqLen: 128, shuffle: false });
  expect(config.train.learningRate).toBe(0.001);
  expect(config.sample.prompts).toEqual(["一", "two words"]);
  expect(config.ropeTheta).toBe(10_000);
  expect(read("--data.shuffle").data.shuffle).toBe(true);
  expect(read("--data.shuffle false").data.shuffle).toBe(false);
  expect(read("--ropeTheta null").ropeTheta).toBe(null);
  expect(read("--no-sample.prompts").sample.prompts).toEqual([]);
  expect(read("--seed 3 --seed 4").seed).toBe(4);
  expect(read("--data.path 007").data.path).toBe("007");
});

const refused: [line: string, message: string][] = [
  ["--train.step 3", '--train.step: unknown key "train.step", did you mean train.steps?'],
  ["--train.learningrte 3", "did you mean train.learningRate?"],
  ["--seqLen 3", '--seqLen: unknown key "seqLen", did you mean data.seqLen?'],
  ["--perset fast", "did you mean preset?"],
  ["--qqqqqqqqqqqq 1", "--help lists every key"],
  ["--train 3", "--train: is a group of keys, expected one of them: --train.steps, --train.learningRate"],
  ["--train.steps many", '--train.steps is "many", expected a whole number, 1 or more'],
  ["--train.steps 1.5", '--train.steps is "1.5", expected a whole number, 1 or more'],
  ["--train.steps 0", "expected a whole number, 1 or more"],
  ["--train.steps 10x", '--train.steps is "10x"'],
  ["--train.learningRate -1", '--train.learningRate is "-1", expected a number, 0 or more'],
  ["--train.learningRate NaN", "expected a number, 0 or more"],
  ["--train.learningRate 1e999", "expected a number, 0 or more"],
  ["--train.dropout 2", "expected a number from 0 to 1"],
  ["--train.schedule cosin", '--train.schedule is "cosin", expected one of cosine, linear, did you mean cosine?'],
  ["--data.shuffle=yes", '--data.shuffle is "yes", expected true or false'],
  ["--data.path --seed 2", "--data.path: its value is missing, expected text"],
  ["--no-data.path", "--no-data.path: only true or false can be negated"],
  ["--seed null", '--seed is "null", expected a whole number'],
  ["pretrain_hq.jsonl", '"pretrain_hq.jsonl": a word without a flag; expected --key value'],
  ["-train.steps 5", "-train.steps: unknown flag; keys take two dashes"],
  ["--preset fats", '--preset: "fats" is not a preset of toy, did you mean fast?'],
  ["--preset theirs", "is not a preset of toy"],
  ["--preset ../fast.jsonc", "a file is given by --config"],
  ["--preset", "--preset: its value is missing, expected a name"],
  ["--config", "--config: its value is missing, expected a file"],
  ["--__proto__.x 1", "unknown key"],
];
for (const [line, message] of refused)
  test(`the command line ${line} is refused with the reason`, () => expect(refusal(line)).toContain(message));

const files: [content: string, message: string][] = [
  ['{\n  "seed": 1\n  "train": {}\n}', "(line 3, column 3)"],
  ['{ "train": { "stepss": 1 } }', 'unknown key "train.stepss", did you mean train.steps?'],
  ['{ "seed": "1" }', 'seed is "1", expected a whole number, 0 or more'],
  ['{ "seed": null }', "seed is null, expected a whole number, 0 or more"],
  ['{ "train": 3 }', "train is 3, expected a group of keys"],
  ['{ "sample": { "prompts": ["a", 1] } }', 'sample.prompts is ["a",1], expected a list of texts'],
  ['{ "train": { "schedule": "step" } }', "expected one of cosine, linear"],
  ['{ "__proto__": { "seed": 3 } }', 'unknown key "__proto__"'],
  ["[]", "holds a list, expected an object"],
  ["", "is not JSONC"],
];
for (const [content, message] of files)
  test(`a config file ${JSON.stringify(content)} is refused with its name and the reason`, () => {
    const file = write("bad.jsonc", content);
    const text = refusal(`--config ${file}`);
    expect(text).toStartWith(`${file}: `);
    expect(text).toContain(message);
  });

test("a config file that is missing or a folder is refused by name", () => {
  expect(refusal(`--config ${folder}/none.jsonc`)).toBe(`${folder}/none.jsonc: no such file`);
  expect(refusal(`--config ${folder}`)).toBe(`${folder}: is a folder, expected a JSONC file`);
});

test("a misspelt key in a preset is refused with the preset's file", () => {
  expect(refusal("--preset broken")).toBe(
    `${folder}/broken.jsonc: unknown key "train.step", did you mean train.steps?`,
  );
});

test("words are taken where the recipe declares them", () => {
  expect(read("hello --seed 2 world", { words: "prompts" }).words).toEqual(["hello", "world"]);
});

test("help shows every key with its default and its line, presets and examples, and asks to exit with 0", () => {
  const text: string[] = [];
  const options = { about: "Trains a toy.", examples: ["bun toy --seed 3"], preset: "fast" };
  let thrown: unknown;
  try {
    read("--help --no-such-key", { ...options, print: (part) => text.push(part) });
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toBeInstanceOf(ConfigError);
  try {
    read("--help", { ...options, print: (part) => text.push(part) });
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toBeInstanceOf(Exit);
  expect((thrown as Exit).code).toBe(0);
  expect(text.join("")).toContain("toy: Trains a toy.");
  expect(text.join("")).toMatch(/--train\.steps number +10 +steps\n/);
  expect(text.join("")).toMatch(/--train\.schedule word +"cosine" +how the rate falls: cosine, linear\n/);
  expect(text.join("")).toMatch(/--data\.shuffle \[true\|false\] +true +mix documents\n/);
  expect(text.join("")).toMatch(/--ropeTheta number +null +base of the angles\n/);
  expect(text.join("")).toMatch(/--resume \[folder\]/);
  expect(text.join("")).toContain("broken, fast");
  expect(text.join("")).not.toContain("theirs");
  expect(text.join("")).toContain("bun toy --seed 3");
});

function storedRun(name: string, line: string): string {
  const dir = join(folder, name);
  mkdirSync(dir, { recursive: true });
  writeFileSync(join(dir, "config.jsonc"), configText(read(`--run.dir ${dir} ${line}`)));
  return dir;
}

test("a config that was written reads back as it was", () => {
  const line = ["--data.path", 'a "b" // c', "--ropeTheta", "7", "--no-sample.prompts"];
  const config = read(line);
  const file = write("again.jsonc", configText(config));
  expect(read(`--config ${file}`) as object).toEqual({ ...config, [origin]: expect.anything() });
});

test("resume starts from the run's own config, and flags count over it", () => {
  const dir = storedRun("first", "--train.steps 50 --preset fast --seed 9");
  const config = read(`--resume ${dir} --train.learningRate 1e-5`, { preset: "fast" });
  expect([config.train.steps, config.seed, config.train.learningRate]).toEqual([50, 9, 1e-5]);
  expect([config.run.dir, config[origin].resume]).toEqual([dir, dir]);
  expect(read(`--run.dir ${dir} --resume --seed 9`)[origin].resume).toBe(dir);
});

test("a stage takes keys over from the run it starts from, under files and flags", () => {
  const dir = storedRun("base", "--data.seqLen 64 --train.steps 50 --seed 9");
  const stage = (flags: string) =>
    configure(
      "toy",
      { ...schema, from: key(dir, "base") },
      {
        presets: folder,
        preset: "fast",
        inherit: ["data.seqLen", "train.steps", "model.none"],
        args: flags.split(" ").filter(Boolean),
      },
    );
  expect([stage("").data.seqLen, stage("").train.steps, stage("").seed]).toEqual([64, 50, 5]);
  expect(stage("--data.seqLen 32").data.seqLen).toBe(32);
  expect(stage(`--from ${folder}`).data.seqLen).toBe(128);
  const options = { presets: folder, inherit: ["seed"], inheritFrom: "teacher", args: [] };
  expect(configure("toy", { ...schema, teacher: key(dir, "teacher") }, options).seed).toBe(9);
  expect(stage(`--from ${join(dir, "config.jsonc")}`).data.seqLen).toBe(128); // a file is no run; who opens it says so
});

test("resume with the command of before says that preset and file are not read again", () => {
  const dir = storedRun("again", "--preset fast --train.steps 50");
  const text: string[] = [];
  const config = read(`--preset own --resume ${dir}`, { print: (part) => text.push(part) });
  expect(config.train.steps).toBe(50);
  expect(text.join("")).toContain("goes on with its own config.jsonc");
});

test("resume refuses what would make it another run, and contradictions", () => {
  const dir = storedRun("fixed", "--seed 9");
  expect(refusal(`--resume ${dir} --seed 10`)).toContain(
    `--seed: is 10, but the run to resume has 9 (${dir}/config.jsonc)`,
  );
  expect(refusal(`--resume ${dir} --data.seqLen 64`)).toContain("a run cannot change it");
  expect(refusal(`--resume ${dir} --train.steps 64`, { fixed: ["train"] })).toContain("--train.steps: is 64");
  expect(refusal(`--resume ${dir} --run.dir ${dir}2`)).toContain("are two folders");
  expect(refusal(`--resume ${dir} --run.overwrite true`)).toContain("give one of the two");
  expect(refusal(`--resume ${dir}/none`)).toContain("holds no run to go on with");
});

test("a run's folder may be named by another key, also to be resumed", () => {
  const named = { name: key("identity", "its name"), run: runKeys(join(folder, "out/{name}")) };
  const read = (...args: string[]) => configure("named", named, { args, presets: folder });
  expect(read().run.dir).toBe(join(folder, "out/identity"));
  expect(read("--name", "medical").run.dir).toBe(join(folder, "out/medical"));
  mkdirSync(join(folder, "out/medical"), { recursive: true });
  write("out/medical/config.jsonc", '{ "name": "medical", "run": { "dir": "elsewhere" } }');
  expect(read("--name", "medical", "--resume")[origin].resume).toBe(join(folder, "out/medical"));
});

test("a recipe without a run folder has no resume", () => {
  const take = () => configure("plain", { seed: key(1, "s") }, { args: ["--resume"], presets: folder });
  expect(take).toThrow('--resume: unknown key "resume"');
});

test("a default that breaks its own rules is found at once", () => {
  expect(() => count(0, "steps")).toThrow("key: the default 0 (steps) is not a whole number, 1 or more");
});

test("edits counts letters added, left out, changed and swapped", () => {
  expect(edits("steps", "steps")).toBe(0);
  expect(edits("stpes", "steps")).toBe(1);
  expect(edits("step", "steps")).toBe(1);
  expect(edits("kitten", "sitting")).toBe(3);
  expect(edits("", "abc")).toBe(3);
  expect(nearest("Learning_Rate", ["train.learningRate", "train.steps"])).toBe("train.learningRate");
});
