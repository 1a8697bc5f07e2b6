import { describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { testGpu } from "../kernels/launch.ts";
import { bytesOf, curve, home, interrupted, metrics, recipe, small } from "./support.ts";

const LONG = 120_000;

test(
  "a run goes from raw text to a model, a tokenizer, metrics, samples, a curve and two states",
  async () => {
    const { code, text } = await recipe("pretrain.ts", small("whole"));
    expect(text).toContain("16 steps");
    expect(code).toBe(0);
    const files = readdirSync(join(home, "whole")).sort();
    for (const name of [
      "config.json",
      "config.jsonc",
      "curve.svg",
      "metrics.jsonl",
      "model.safetensors",
      "samples.md",
      "state",
      "tokenizer.json",
    ])
      expect(files).toContain(name);
    expect(readdirSync(join(home, "whole/state")).sort()).toEqual(["step-000012", "step-000016"]);
    const lines = metrics("whole");
    expect(lines.map((l) => l.step)).toEqual(Array.from({ length: 17 }, (_, i) => i));
    expect(lines.every((l) => typeof l.loss === "number")).toBe(true);
    for (const at of [8, 16])
      expect([typeof lines[at].valLoss, typeof lines[at].bitsPerByte]).toEqual(["number", "number"]);
    expect(lines[16].loss as number).toBeLessThan((lines[1].loss as number) - 1);
    expect(readFileSync(join(home, "whole/samples.md"), "utf8")).toContain("The");
  },
  LONG,
);

describe("a run that does not reach its end", () => {
  test(
    "goes on after kill -9 at a random step as if it had never stopped, bit for bit",
    async () => {
      const step = 5 + Math.floor(Math.random() * 9);
      await interrupted(small("killed"), "killed", step, "SIGKILL");
      expect(metrics("killed").at(-1)?.step).toBeLessThan(16);
      const { code } = await recipe("pretrain.ts", ["--resume", join(home, "killed")]);
      expect(code).toBe(0);
      expect(curve("killed")).toEqual(curve("whole"));
      expect(bytesOf("killed", "model.safetensors")).toBe(bytesOf("whole", "model.safetensors"));
    },
    LONG,
  );
  test(
    "saves on Ctrl-C, says how to go on, and goes on bit for bit, with accumulated gradients too",
    async () => {
      const flags = ["--train.accumulate", "2", "--save.every", "0"];
      await recipe("pretrain.ts", small("accumulated", ...flags));
      const stopped = await interrupted(small("stopped", ...flags), "stopped", 6, "SIGINT");
      expect(stopped.text).toMatch(/go on after step \d+: {2}bun recipes\/pretrain\.ts --resume/);
      expect(stopped.code).toBe(130);
      const { code } = await recipe("pretrain.ts", ["--resume", join(home, "stopped")]);
      expect(code).toBe(0);
      expect(curve("stopped")).toEqual(curve("accumulated"));
      expect(metrics("accumulated")[1].tokens).toBe(128);
    },
    LONG,
  );
});

test.skipIf(!(await testGpu()).target.f16)(
  "in f16 a run goes on bit for bit too, and its loss stays near that in f32",
  async () => {
    const flags = ["--train.precision", "f16"];
    await recipe("pretrain.ts", small("half", ...flags));
    await interrupted(small("halfkilled", ...flags), "halfkilled", 7, "SIGKILL");
    const { code } = await recipe("pretrain.ts", ["--resume", join(home, "halfkilled")]);
    expect(code).toBe(0);
    expect(curve("halfkilled")).toEqual(curve("half"));
    const [half, whole] = [metrics("half"), metrics("whole")];
    expect(half[16].lossScale).toBe(65536);
    expect(Math.abs((half[16].valLoss as number) / (whole[16].valLoss as number) - 1)).toBeLessThan(0.01);
  },
  LONG,
);

test(
  "five steps in a row that are not finite stop the run with a report, and the last good state stays",
  async () => {
    await recipe("pretrain.ts", small("diverged", "--train.steps", "8", "--save.every", "4"));
    const before = bytesOf("diverged", "state/step-000008/tensors.safetensors");
    const { code, text } = await recipe(
      "pretrain.ts",
      small(
        "diverged2",
        "--train.learningRate",
        "1e38",
        "--train.clip",
        "0",
        "--train.schedule",
        "constant",
        "--train.warmup",
        "0",
      ),
    );
    expect(text).toMatch(/the step is skipped \(5 in a row/);
    expect(text).toMatch(/error: .*not finite/s);
    expect(code).not.toBe(0);
    expect(bytesOf("diverged", "state/step-000008/tensors.safetensors")).toBe(before);
  },
  LONG,
);

describe("other ways to train", () => {
  test(
    "a padded document a row, as MiniMind does",
    async () => {
      const { code } = await recipe("pretrain.ts", small("padded", "--data.packing", "false", "--train.steps", "4"));
      expect(code).toBe(0);
    },
    LONG,
  );
  test(
    "Llama's shape with a head of its own and recomputed activations",
    async () => {
      const { code, text } = await recipe(
        "pretrain.ts",
        small(
          "llama",
          "--model.model_type",
          "llama",
          "--model.tie_word_embeddings",
          "false",
          "--train.checkpointing",
          "true",
          "--train.steps",
          "4",
        ),
      );
      expect(text).not.toContain("error");
      expect(code).toBe(0);
      expect(JSON.parse(readFileSync(join(home, "llama/config.json"), "utf8")).architectures).toEqual([
        "LlamaForCausalLM",
      ]);
    },
    LONG,
  );
  test(
    "the reference preset starts",
    async () => {
      const flags = [
        "--preset",
        "micromind-26m",
        "--data.path",
        join(home, "small.jsonl"),
        "--train.batchSize",
        "1",
        "--data.seqLen",
        "32",
        "--train.steps",
        "1",
        "--tokenizer.vocabSize",
        "320",
        "--eval.every",
        "0",
        "--eval.batches",
        "1",
        "--sample.prompts",
        "The",
        "--sample.tokens",
        "2",
        "--run.dir",
        join(home, "reference"),
      ];
      const { code, text } = await recipe("pretrain.ts", flags);
      expect(text).toContain("1 steps of 32 tokens");
      expect(code).toBe(0);
    },
    LONG,
  );
});

describe("bad input is an error in words, and nothing good is lost", () => {
  const fails = async (args: string[], message: RegExp, env?: Record<string, string>) => {
    const { code, text } = await recipe("pretrain.ts", args, env);
    expect(text).toMatch(message);
    expect(text).not.toMatch(/\n\s+at .*\.ts:\d+/); // no stack
    expect(code).not.toBe(0);
  };
  const file = (name: string, content: string) => {
    writeFileSync(join(home, name), content);
    return join(home, name);
  };
  const withData = (path: string) => small("bad", "--data.path", path);

  test(
    "a misspelt key names the nearest",
    () => fails(["--train.learningrate", "1"], /unknown key "train\.learningrate", did you mean train\.learningRate\?/),
    LONG,
  );
  test(
    "a value of the wrong type",
    () => fails(["--train.steps", "many"], /--train\.steps is "many", expected a whole number/),
    LONG,
  );
  test(
    "missing and empty data",
    async () => {
      await fails(withData(join(home, "nowhere.jsonl")), /nowhere\.jsonl: there is no such file or folder/);
      await fails(withData(file("empty.jsonl", "")), /empty\.jsonl: the file is empty/);
    },
    LONG,
  );
  test(
    "a line that is not JSON, unless it may be skipped",
    async () => {
      const path = file("broken.jsonl", `${readFileSync(join(home, "small.jsonl"), "utf8")}{"text": \n`);
      await fails(withData(path), /broken\.jsonl:81: not JSON/);
      const { code, text } = await recipe(
        "pretrain.ts",
        small("skipping", "--data.path", path, "--data.onError", "skip", "--train.steps", "2"),
      );
      expect(text).toContain("1 bad lines left out, such as");
      expect(code).toBe(0);
    },
    LONG,
  );
  test(
    "a truncated tokenizer",
    async () => {
      const whole = readFileSync(join(home, "whole/tokenizer.json"), "utf8");
      await fails(small("bad", "--tokenizer.path", file("tokenizer.json", whole.slice(0, 900))), /tokenizer\.json/);
    },
    LONG,
  );
  test(
    "no run to resume, and keys that a resumed run cannot change",
    async () => {
      await fails(["--resume", join(home, "never")], /error: /);
      await fails(["--resume", join(home, "whole"), "--seed", "9"], /seed/);
    },
    LONG,
  );
  test(
    "a folder that holds another run is left alone",
    async () => {
      const before = bytesOf("whole", "model.safetensors");
      await fails(small("whole"), /holds another run; go on with it/);
      expect(bytesOf("whole", "model.safetensors")).toBe(before);
    },
    LONG,
  );
  test(
    "no driver",
    () =>
      fails(small("bad"), /error: .*(null adapter|no GPU adapter).*Install a Vulkan driver/s, {
        VK_DRIVER_FILES: "/nonexistent",
        VK_ICD_FILENAMES: "/nonexistent",
      }),
    LONG,
  );
  test(
    "a provider that does not exist",
    () => fails(small("bad"), /MICROMIND_GPU: "nonsense" is no provider/, { MICROMIND_GPU: "nonsense" }),
    LONG,
  );
  test(
    "a full disk while saving: a warning, and the good state stays",
    async () => {
      const disk = join(home, "disk");
      mkdirSync(disk);
      const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "size=700k", "tmpfs", disk]).status === 0;
      if (!mounted) return console.log("skip: a small disk cannot be mounted here");
      try {
        const { code, text } = await recipe("pretrain.ts", small("disk/run"));
        expect(text).toMatch(
          /WARNING: saving step \d+: .*the disk is full[\s\S]*the last good state is that of step 4/,
        );
        expect(code).not.toBe(0);
        const states = existsSync(join(disk, "run/state"))
          ? readdirSync(join(disk, "run/state")).filter((n) => n.startsWith("step-"))
          : [];
        for (const state of states)
          expect(readdirSync(join(disk, "run/state", state)).sort()).toEqual(["state.json", "tensors.safetensors"]);
      } finally {
        spawnSync("umount", [disk]);
      }
    },
    LONG,
  );
});
