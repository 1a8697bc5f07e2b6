import { join } from "node:path";
import process from "node:process";
import { setImmediate } from "node:timers";
import { codeOf, FileError, writeFileAtomic } from "../checkpoint/file.ts";
import { origin } from "./config.ts";
import { curveSvg } from "./curve.ts";
import { ConfigError, DivergedError } from "./errors.ts";
import {
  addSamples,
  configText,
  type RunConfig,
  type RunFolder,
  type Sample,
  samplesUpTo,
  takeFolder,
} from "./folder.ts";
import { bytes, duration, figure, short } from "./format.ts";
import { LiveLine, type Output, type Part } from "./live.ts";
import { MetricsLog } from "./metrics.ts";
import { divergedText, evaluationText, ownFigures, type StepLog, summaryText } from "./report.ts";
import { type Batches, Source } from "./source.ts";
import { latestState, type SavedState, type StateToSave, saveState } from "./state.ts";
import { Stopping } from "./stopping.ts";

export interface StepsOptions {
  /** The last step's number. */
  total: number;
  /** Floating-point operations of a token's forward and backward pass, about 6 × parameters. */
  flopsPerToken?: number;
  /** The adapter's measured matmul rate, floating-point operations a second. */
  peakFlops?: number;
}

/** Steps without a finite loss and gradient, one after the other, after which a run stops. */
const patience = 5;
/** Steps over which the speed is measured. */
const window = 50;

/**
 * What a recipe needs around its loop: the folder, the steps, the log, saving and stopping. Loss, model and optimizer stay in
 * the recipe; nothing here calls it back.
 *
 * Steps are counted from 1: a line of metrics.jsonl, a sample or a state of step 100 belongs to the model after 100 steps, and the loss
 * of step 100 is that of its batch before its update.
 */
export class Run<Meta = unknown> {
  /** The run's folder. */
  readonly dir: string;
  /** What to go on from; undefined for a new run. Its `step` is done, the loop begins with the next. */
  readonly resumed: SavedState<Meta> | undefined;

  readonly #config: RunConfig;
  readonly #folder: RunFolder;
  readonly #line: LiveLine;
  readonly #stopping: Stopping;
  readonly #start = performance.now();
  #options: StepsOptions | undefined;
  #metrics: MetricsLog | undefined;
  #step: number;
  #saved: number;
  #failedSaves = 0;
  #saveFailed = false;
  #troubles = new Map<string, number>();
  #broken: StepLog[] = [];
  /** The last step that the device is known to have finished, and when. */
  #computed: { step: number; at: number } | undefined;
  /** Of steps that did nothing but train: how long they took, and how much of it the device waited for their batch. */
  #speeds: { ms: number; waited: number; tokens: number }[] = [];
  #tokens = 0;
  /** Whether this step did more than train, and so says nothing about speed. */
  #extra = true;
  #loopStart = 0;
  #loopStep = -1;
  /** Seconds of the starts before this one, where the run was resumed. */
  #earlier = 0;
  #skipped = 0;

  private constructor(config: RunConfig, folder: RunFolder, resumed: SavedState<Meta> | undefined, output: Output) {
    this.#config = config;
    this.#folder = folder;
    this.dir = config.run.dir;
    this.resumed = resumed;
    this.#step = this.#saved = resumed?.step ?? 0;
    this.#line = new LiveLine(output);
    this.#stopping = new Stopping((text) => this.print(text));
  }

  /**
   * Takes the run's folder and, where the config says resume, finds the newest whole state in it. `Meta` is the type of what
   * the recipe saves as `meta`.
   * @throws FileError where the folder holds another run (see `takeFolder`), ConfigError where there is no state to go on from
   */
  static async open<Meta>(config: RunConfig, output: Output = process.stdout): Promise<Run<Meta>> {
    const say = (text: string) => void output.write(`${text}\n`);
    const { resume } = config[origin];
    const { dir } = config.run;
    const folder = takeFolder(config, say);
    try {
      const resumed = resume === undefined ? undefined : await latestState<Meta>(join(dir, "state"), say);
      if (resume !== undefined && !resumed)
        throw new ConfigError(
          `${join(dir, "state")}: holds no whole state to go on from; start over: leave --resume out, with --run.overwrite true`,
        );
      const run = new Run<Meta>(config, folder, resumed, output);
      if (resumed) run.print(`${dir}: going on after step ${resumed.step}`);
      return run;
    } catch (error) {
      folder.release();
      throw error;
    }
  }

  /** The path of a file in the run's folder. */
  path(name: string): string {
    return join(this.dir, name);
  }

  /** The step that the loop is at, or the last that it was at. */
  get step(): number {
    return this.#step;
  }

  /** The last step's number, known once `steps` is called. */
  get total(): number {
    if (!this.#options) throw new Error("run.total: not known before run.steps(batches, { total })");
    return this.#options.total;
  }

  /** Whether Ctrl-C was pressed: the loop ends with a step that was saved. Long evaluations may look and be short. */
  get stopping(): boolean {
    return this.#stopping.asked;
  }

  /** Steps that were left out because loss or gradient was not finite. */
  get skipped(): number {
    return this.#skipped;
  }

  /** Writes lines to the terminal, above the live line. */
  print(text: string): void {
    this.#line.print(text);
  }

  /**
   * The steps from the first, or the one after the resumed state, to the last. Until it ends, the first Ctrl-C lets the loop
   * end as soon as a step was saved, a second ends the process at once.
   * @throws Error where the batches end before the steps do
   */
  async *steps<B>(batches: Batches<B>, options: StepsOptions): AsyncGenerator<{ step: number; batch: B }, void, void> {
    this.#options = options;
    this.#begin();
    const source = new Source(batches);
    this.#stopping.listen();
    try {
      while (this.#step < options.total && !this.#stopping.ends(this.#step, this.#saved)) {
        this.#step++;
        const start = performance.now();
        let turned = false;
        setImmediate(() => {
          turned = true;
        });
        const batch = await source.next(this.#step);
        const waited = turned ? this.#idle(start) : performance.now() - start; // in one go nobody could say that the device has finished
        yield { step: this.#step, batch };
        if (!this.#extra && this.#tokens > 0)
          this.#speeds.push({ ms: performance.now() - start, waited, tokens: this.#tokens });
        if (this.#speeds.length > window) this.#speeds.shift();
        this.#extra = false;
        this.#tokens = 0;
        // The first step, in which kernels are compiled, says nothing about the time left.
        if (this.#loopStep < 0) [this.#loopStep, this.#loopStart] = [this.#step, performance.now()];
      }
    } finally {
      await source.close();
      this.#stopping.leave();
      this.#line.end();
    }
  }

  /** Notes that the device has finished a step's work, as its loss shows that was read: from then on it waits for the next batch. */
  computed(step: number): void {
    this.#computed = { step, at: performance.now() };
  }

  /** ms since `start` in which the device had nothing to do; where no one says when it has finished, all of them. */
  #idle(start: number): number {
    const now = performance.now();
    if (!this.#computed) return now - start;
    return this.#computed.step === this.#step - 1 ? now - Math.max(start, this.#computed.at) : 0;
  }

  /**
   * Notes a step's figures and shows them. May be called several times for a step, and later than it, but in order: losses can be
   * read from the GPU while the next step runs. `skipped`, or a loss or gradient norm that is not finite, counts as {@link skip}.
   * @throws DivergedError as skip does; Error where steps come out of order
   */
  log(figures: StepLog): void {
    const metrics = this.#begin();
    const { step, loss, gradNorm, tokens, valLoss, skipped } = figures;
    if (Object.keys(figures).length === 1) return; // of an evaluation that had nothing to look at
    if (skipped || isBad(loss) || isBad(gradNorm)) {
      this.skip(step, figures);
      return;
    }
    const speed = loss === undefined ? undefined : this.tokensPerSecond;
    const { dataWait = 0 } = this;
    const rate =
      speed === undefined ? {} : { tokensPerSecond: Math.round(speed), dataWait: Math.round(dataWait * 1e4) / 1e4 };
    this.#try("metrics.jsonl", () => metrics.add({ ...figures, ...rate, seconds: this.#seconds() }));
    if (tokens !== undefined) this.#tokens = tokens;
    if (valLoss !== undefined || loss === undefined) this.print(evaluationText(figures, metrics.last?.loss));
    if (loss === undefined) return;
    this.#broken = [];
    this.#line.show(this.#parts(figures), step === this.#options?.total);
  }

  /**
   * Notes a step whose update was left out because its loss or gradient was not finite. `log` does so by itself.
   * One lost to f16's range while its scale can still fall does not count towards them.
   * @throws DivergedError with a report when it is the fifth in a row
   */
  skip(step: number, figures: Partial<StepLog>): void {
    const metrics = this.#begin();
    const loss = figures.loss ?? Number.NaN;
    this.#skipped++;
    const rescaled = figures.overflow === true && (figures.lossScale ?? 0) > 1; // part of f16's way, no sign of trouble
    if (!rescaled) this.#broken.push({ ...figures, loss, step });
    const line = { ...figures, loss, step, skipped: true, seconds: this.#seconds() };
    this.#try("metrics.jsonl", () => metrics.add(line));
    const norm = figures.gradNorm === undefined ? "" : `, gradient norm ${figure(figures.gradNorm)}`;
    const why = rescaled
      ? `a gradient beyond f16's range; they are scaled by ${figures.lossScale} from here on`
      : `${this.#broken.length} in a row, ${patience} stop the run`;
    this.print(`step ${step}: loss ${figure(loss)}${norm}: the step is skipped (${why})`);
    if (this.#broken.length < patience) return;
    this.#flush();
    const { recipe } = this.#config[origin];
    throw new DivergedError(
      divergedText({ recipe, dir: this.dir, broken: this.#broken, good: metrics.last, saved: this.#saved }),
    );
  }

  /**
   * Whether something is due at this step: every `config[what].every` steps, and at the last; for `"save"` also when the run is
   * being stopped. With `every` 0 only then.
   */
  due(what: string, step: number): boolean {
    const group = (this.#config as unknown as Record<string, { every?: unknown } | undefined>)[what];
    const every = group?.every;
    if (typeof every !== "number") throw new Error(`run.due: the config has no ${what}.every`);
    const stops = what === "save" && this.#stopping.asked;
    const due = (every > 0 && step % every === 0) || step === this.total || stops;
    this.#extra ||= due;
    return due;
  }

  /** Prints samples, each as it comes in a line (of a long prompt the end), and adds them to samples.md; `text` is what followed the prompt. */
  async sample(step: number, samples: Iterable<Sample> | AsyncIterable<Sample>): Promise<void> {
    this.#begin();
    this.#extra = true;
    const made: Sample[] = [];
    this.print(`step ${step}  samples`);
    for await (const sample of samples) {
      made.push(sample);
      this.print(`  ${oneLine(sample.prompt).replace(/^.+(?=.{120})/su, "…")}│${oneLine(sample.text)}`);
    }
    this.#try("samples.md", () => addSamples(this.path("samples.md"), step, made));
  }

  /**
   * Saves the state of a step, with the metrics up to it; the last two states are kept. Where that fails, as on a full disk, the run
   * goes on, the failure is printed and counted, and the last good state stays.
   * @param also writes what else belongs to the step, such as the model; it may fail in the same way, and is written though the
   *   state was not: on a disk that is nearly full the model may still have room
   * @returns whether it was saved
   * @throws Error where the step's loss was not logged yet: a resumed run would lack it
   */
  async save(step: number, state: StateToSave, also?: () => void | Promise<void>): Promise<boolean> {
    if (this.#begin().lastStep < step) throw new Error(`run.save: log step ${step} before saving it`);
    this.#extra = true;
    this.#flush();
    const saved = await this.#written(step, async () => {
      await saveState(this.path("state"), step, state);
      this.#saved = step;
    });
    const alsoSaved = await this.#written(step, async () => also?.());
    this.#saveFailed = !(saved && alsoSaved);
    return !this.#saveFailed;
  }

  /** Whether a part of a step could be saved. */
  async #written(step: number, write: () => Promise<void>): Promise<boolean> {
    try {
      await write();
      return true;
    } catch (error) {
      if (!(error instanceof FileError)) throw error;
      this.#failedSaves++;
      this.#stopping.gaveUp(step);
      const good =
        this.#saved > 0 ? `the last good state is that of step ${this.#saved}` : "there is no good state yet";
      this.print(`WARNING: saving step ${step}: ${error.message}\n  the run goes on; ${good}`);
      return false;
    }
  }

  /**
   * Ends the run: writes what is left, and prints what came of it, where it lies and what to do next. A run stopped by Ctrl-C exits
   * with code 130, one whose last save failed with 1.
   * @param next the command to go on with, such as `bun recipes/eval.ts --run out/pretrain`
   */
  finish({ next }: { next?: string } = {}): void {
    const metrics = this.#begin();
    this.#flush();
    this.#line.end();
    const { recipe } = this.#config[origin];
    const total = this.#options?.total ?? this.#step;
    const done = this.#step >= total;
    this.print(
      summaryText({
        dir: this.dir,
        step: this.#step,
        total,
        skipped: this.#skipped,
        seconds: this.#seconds(),
        metrics,
      }),
    );
    if (!done) {
      const command = `bun recipes/${recipe}.ts --resume ${this.dir}`;
      this.print(this.#saved > 0 ? `  go on after step ${this.#saved}:  ${command}` : "  no state was saved");
    } else if (next !== undefined) this.print(`  next:  ${next}`);
    for (const [what, times] of this.#troubles) this.print(`  WARNING: ${what} could not be written ${times} times`);
    if (this.#failedSaves > 0) this.print(`  WARNING: saving failed ${this.#failedSaves} times`);
    if (!done && this.stopping) process.exitCode = this.#stopping.exitCode;
    else if (this.#saveFailed) process.exitCode = 1;
    this.#folder.release();
  }

  /** Over the last steps that did nothing but train; undefined before there are any. */
  get tokensPerSecond(): number | undefined {
    const ms = this.#speeds.reduce((sum, speed) => sum + speed.ms, 0);
    return ms > 0 ? (this.#speeds.reduce((sum, speed) => sum + speed.tokens, 0) / ms) * 1000 : undefined;
  }

  /** The share of those steps' time in which the device waited for data. */
  get dataWait(): number | undefined {
    const ms = this.#speeds.reduce((sum, speed) => sum + speed.ms, 0);
    return ms > 0 ? this.#speeds.reduce((sum, speed) => sum + speed.waited, 0) / ms : undefined;
  }

  /** Once: the folder becomes this run's, with its config and a log that ends where the run goes on. */
  #begin(): MetricsLog {
    if (this.#metrics) return this.#metrics;
    this.#folder.begin();
    writeFileAtomic(this.path("config.jsonc"), configText(this.#config));
    this.#metrics = new MetricsLog(this.path("metrics.jsonl"), this.resumed?.step);
    this.#earlier = Number(this.#metrics.last?.seconds ?? 0);
    this.#skipped = this.#metrics.skipped;
    if (this.resumed) writeFileAtomic(this.path("samples.md"), samplesUpTo(this.path("samples.md"), this.resumed.step));
    return this.#metrics;
  }

  #flush(): void {
    const metrics = this.#begin();
    this.#try("metrics.jsonl", () => metrics.flush());
    this.#try("curve.svg", () =>
      writeFileAtomic(this.path("curve.svg"), curveSvg(this.dir, metrics.loss, metrics.valLoss)),
    );
  }

  /** Runs what writes a file that a run can do without for a while: a full disk is told, counted and outlived. */
  #try(what: string, write: () => void): void {
    try {
      write();
    } catch (error) {
      if (codeOf(error) === undefined) throw error;
      const times = (this.#troubles.get(what) ?? 0) + 1;
      this.#troubles.set(what, times);
      if (times === 1) this.print(`WARNING: ${this.path(what)}: ${(error as Error).message}; the run goes on`);
    }
  }

  /** Of training, all starts together, to the millisecond. */
  #seconds(): number {
    return Math.round(this.#earlier * 1000 + performance.now() - this.#start) / 1000;
  }

  #parts(figures: StepLog): Part[] {
    const { step, loss, learningRate, gradNorm, memory } = figures;
    const { total, flopsPerToken, peakFlops } = this.#options ?? { total: step };
    const speed = this.tokensPerSecond;
    const share = speed && flopsPerToken && peakFlops ? (speed * flopsPerToken) / peakFlops : undefined;
    const { dataWait = 0 } = this;
    const done = this.#step - this.#loopStep;
    const left =
      this.#loopStep > 0 && done > 0
        ? ((performance.now() - this.#loopStart) / done) * (total - this.#step)
        : undefined;
    const parts: [string, string | undefined][] = [
      ["step", `${step}/${total}`],
      ["loss", loss === undefined ? undefined : figure(loss)],
      ...ownFigures(figures),
      ["", left === undefined ? undefined : `${duration(left / 1000)} left`],
      ["", speed === undefined ? undefined : `${short(speed)} tok/s`],
      ["lr", learningRate === undefined ? undefined : figure(learningRate)],
      ["grad", gradNorm === undefined ? undefined : figure(gradNorm)],
      ["", share === undefined ? undefined : `${Math.round(share * 100)}% of matmul peak`],
      ["", dataWait < 0.01 ? undefined : `${Math.round(dataWait * 100)}% waiting for data`],
      ["", memory === undefined ? undefined : bytes(memory)],
    ];
    return parts.filter((part): part is [string, string] => part[1] !== undefined);
  }
}

const oneLine = (text: string) => text.replace(/\s*\n\s*/g, " ⏎ ");
const isBad = (value: number | undefined) => value !== undefined && !Number.isFinite(value);
