import { afterAll, beforeEach, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readMetrics } from "../../framework/run/metrics.ts";

const root = fs.mkdtempSync(join(tmpdir(), "program-"));
afterAll(() => {
  if (mounted) spawnSync("umount", [small]);
  fs.rmSync(root, { recursive: true });
});
let folder: string;
beforeEach(() => {
  folder = fs.mkdtempSync(join(root, "run-"));
});

const program = join(import.meta.dirname, "toyRecipe.ts");

function toy(line: string) {
  const args = line.split(" ").filter((word) => word);
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, [program, ...args], {
    cwd: folder,
    encoding: "utf8",
  });
  return { status, signal, stdout, stderr };
}

const inRun = (name: string) => join(folder, "out/toy", name);
const losses = (file = inRun("metrics.jsonl")) =>
  readMetrics(file).map(({ step, loss, valLoss }) => [step, loss, valLoss]);
const read = (name: string) => fs.readFileSync(inRun(name), "utf8");
const states = () => fs.readdirSync(inRun("state")).sort();
const stepsOf = (name: string) => [...read(name).matchAll(/^## Step (\d+)$/gm)].map((match) => Number(match[1]));

test("a run writes its folder, tells what came of it, and exits with 0", () => {
  const { status, stdout, stderr } = toy("--seed 3");
  expect([status, stderr]).toEqual([0, ""]);
  expect(fs.readdirSync(inRun(".")).sort()).toEqual([
    "config.jsonc",
    "curve.svg",
    "metrics.jsonl",
    "samples.md",
    "state",
  ]);
  expect(read("config.jsonc")).toStartWith("// bun recipes/toy.ts --seed 3\n{");
  const lines = read("metrics.jsonl")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
  expect(lines.map(({ step }) => step)).toEqual(Array.from({ length: 21 }, (_, step) => step));
  for (const { loss } of lines) expect(loss).toBeNumber();
  expect(
    lines
      .filter(({ valLoss, bitsPerByte }) => valLoss !== undefined && bitsPerByte !== undefined)
      .map(({ step }) => step),
  ).toEqual([0, 5, 10, 15, 20]);
  expect(stepsOf("samples.md")).toEqual([10, 20]);
  expect(states()).toEqual(["step-000016", "step-000020"]);
  expect(read("curve.svg")).toContain("validation loss");
  expect(stdout).toMatch(/step 20 {2}validation loss/);
  expect(stdout).toMatch(/step 20\/20 {2}loss/);
  expect(stdout).toMatch(/out\/toy: 20 steps, 0:0\d, loss .*, validation loss 9\.0000 → /);
  expect(stdout).toContain("next:  bun recipes/eval.ts --run out/toy");
});

test("killed at any step and resumed, a run gives bit for bit the losses of one that never stopped", () => {
  toy("--run.dir out/whole");
  const whole = losses(join(folder, "out/whole/metrics.jsonl"));
  for (const step of [5, 4 + Math.ceil(Math.random() * 16)]) {
    fs.rmSync(inRun("."), { recursive: true, force: true });
    expect(toy(`--trouble.kill ${step}`).signal).toBe("SIGKILL");
    fs.appendFileSync(inRun("metrics.jsonl"), `{"step":${step},"lo`);
    const { status, stdout } = toy("--resume --trouble.kill 0");
    expect(status).toBe(0);
    expect(stdout).toContain(`out/toy: going on after step ${Math.floor((step - 1) / 4) * 4}`);
    expect(losses()).toEqual(whole);
    expect(read("metrics.jsonl").trimEnd().split("\n")).toHaveLength(21);
    expect(stepsOf("samples.md")).toEqual([10, 20]);
  }
});

test("Ctrl-C ends the run after the step, with its state saved, and exits with 130", () => {
  const { status, stdout } = toy("--trouble.interrupt 6");
  expect(status).toBe(130);
  expect(states()).toEqual(["step-000004", "step-000006"]);
  expect(stdout).toContain("stopping after this step");
  expect(stdout).toContain("out/toy: stopped after step 6 of 20");
  expect(stdout).toContain("go on after step 6:  bun recipes/toy.ts --resume out/toy");
  expect(fs.existsSync(inRun(".running"))).toBe(false);
  expect(toy("--resume --trouble.interrupt 0").status).toBe(0);
  toy("--run.dir out/whole");
  expect(losses()).toEqual(losses(join(folder, "out/whole/metrics.jsonl")));
});

test("a second Ctrl-C ends the run at once, and the last state stays", () => {
  const { status, stdout } = toy("--trouble.interrupt 6 --trouble.again 6 --trouble.sleep 20");
  expect(status).toBe(130);
  expect(stdout).not.toContain("stopped after");
  expect(states()).toEqual(["step-000004"]);
  expect(fs.existsSync(inRun(".running"))).toBe(false);
});

test("five broken steps in a row stop the run with a report, and its last good state stays", () => {
  const { status, stdout, stderr } = toy("--trouble.breaks 7");
  expect(status).toBe(1);
  expect(stdout).toContain("step 7: loss NaN");
  expect(stdout).toContain("the step is skipped (1 in a row, 5 stop the run)");
  expect(stderr).toStartWith(
    "error: out/toy: loss or gradients were not finite in 5 steps in a row, so the run stops\n",
  );
  expect(stderr).toMatch(/^ +11 +NaN +\S+ +0\.1000$/m);
  expect(stderr).toContain("a lower --train.learningRate (it was 0.1000; try 0.0333)");
  expect(stderr).not.toContain("    at ");
  expect(losses().slice(-5)).toEqual(
    [7, 8, 9, 10, 11].map((step) => [step, null, step === 10 ? expect.anything() : undefined]),
  );
});

test("the default run works twice: the first is moved aside, and nothing of it is lost", () => {
  toy("");
  const first = read("metrics.jsonl");
  const { status, stdout } = toy("");
  expect(status).toBe(0);
  expect(stdout).toContain("out/toy held another run: it is now out/toy.1");
  expect(fs.readFileSync(join(folder, "out/toy.1/metrics.jsonl"), "utf8")).toBe(first);
  toy("");
  expect(fs.readdirSync(join(folder, "out")).sort()).toEqual(["toy", "toy.1", "toy.2"]);
});

test("a wrong config exits with 2, a line and no stack, and touches nothing", () => {
  const { status, stdout, stderr } = toy("--train.step 3");
  expect([status, stdout]).toEqual([2, ""]);
  expect(stderr).toBe('error: --train.step: unknown key "train.step", did you mean train.steps?\n');
  expect(fs.readdirSync(folder)).toEqual([]);
});

test("a named folder that holds a run is refused, and overwritten only when told to", () => {
  toy("");
  const before = read("metrics.jsonl");
  const { status, stderr } = toy("--run.dir out/toy --train.steps 5");
  expect(status).toBe(1);
  expect(stderr).toBe(
    "error: out/toy: holds another run; go on with it (--resume out/toy), delete it (--run.overwrite true), or choose another folder (--run.dir)\n",
  );
  expect(read("metrics.jsonl")).toBe(before);
  expect(toy("--run.overwrite true --train.steps 3").status).toBe(0);
  expect(losses()).toHaveLength(4);
  expect(states()).toEqual(["step-000003"]);
});

test("a run that is complete has nothing to do on resume, and can be made longer", () => {
  toy("");
  const before = losses();
  expect(toy("--resume").stdout).toContain("out/toy: 20 steps");
  expect(losses()).toEqual(before);
  expect(toy("--resume --train.steps 24").status).toBe(0);
  expect(losses().slice(0, 21)).toEqual(before);
  expect(losses()).toHaveLength(25);
  expect(read("config.jsonc")).toContain('"steps": 24');
});

test("resume without a state to go on from is refused", () => {
  expect(toy("--resume").status).toBe(2);
  toy("--trouble.kill 2");
  const { status, stderr } = toy("--resume --trouble.kill 0");
  expect(status).toBe(2);
  expect(stderr).toContain("out/toy/state: holds no whole state to go on from");
});

test("an error that is ours is printed with its stack and exits with 1", () => {
  const { status, stderr } = toy("--trouble.throws 2");
  expect(status).toBe(1);
  expect(stderr).toStartWith("error: Error: a mistake\n    at ");
});

test("--help prints the keys and exits with 0", () => {
  const { status, stdout } = toy("--help");
  expect(status).toBe(0);
  expect(stdout).toMatch(/--train\.steps number +20 +steps/);
});

const small = join(root, "small");
fs.mkdirSync(small);
const mounted =
  process.platform === "linux" && spawnSync("mount", ["-t", "tmpfs", "-o", "size=128k", "tmpfs", small]).status === 0;

test.skipIf(!mounted)(
  "a disk that fills up while it trains does not end a run; its last states stay, and it goes on from them",
  () => {
    const file = `${small}/run/metrics.jsonl`;
    const { status, stdout } = toy(`--run.dir ${small}/run --trouble.fill 9`);
    expect(status).toBe(1);
    expect(stdout).toContain(
      `WARNING: saving step 12: ${small}/run/state/step-000012/tensors.safetensors: could not be saved: the disk is full`,
    );
    expect(stdout).toContain("the run goes on; the last good state is that of step 8");
    expect(stdout).toContain(`${small}/run: 20 steps`);
    expect(stdout).toContain("WARNING: saving failed 3 times");
    expect(fs.readdirSync(`${small}/run/state`).sort()).toEqual(["step-000004", "step-000008"]);

    const full = toy(`--resume ${small}/run --trouble.fill 0`);
    expect(full.status).toBe(1);
    expect(full.stderr).toStartWith(`error: ${small}/run/`);
    expect(full.stderr).toContain("could not be saved: the disk is full");
    expect(fs.readdirSync(`${small}/run/state`).sort()).toEqual(["step-000004", "step-000008"]);

    fs.rmSync(join(small, "filler"));
    expect(toy(`--resume ${small}/run --trouble.fill 0`).status).toBe(0);
    toy("");
    expect(losses(file)).toEqual(losses());
  },
);
