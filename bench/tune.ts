import { collect, type Launch } from "../framework/device/collect.ts";
import { type Shape, type Target, tuningSpace } from "../framework/device/kernel.ts";
import { type Tuned, tune } from "../framework/device/tune.ts";
import { gpu } from "../framework/tensor/engine.ts";
import type { KernelCase } from "./case.ts";
import { type StepOptions, trainer } from "./step.ts";
import { printTable, type Row } from "./table.ts";

type Labelled = Launch & { label: string };

/** The benches' cases whose kernels have something to tune. */
export function casesToTune(cases: readonly KernelCase[], target: Target): Labelled[] {
  return cases
    .filter(({ kernel, shape }) => tuningSpace(kernel, shape, target).length > 1)
    .map(({ uniforms = {}, ...rest }) => ({ ...rest, uniforms, count: 1 }));
}

/** What a training step launches. */
export async function stepLaunches(options: StepOptions): Promise<Labelled[]> {
  const { step } = trainer(options);
  const launches = await collect(gpu(), () => step().dispose());
  return launches.map((launch) => ({ ...launch, label: describe(launch) }));
}

function describe({ kernel, shape, uniforms, count }: Launch): string {
  const named = (values: Shape) => Object.entries(values).filter(([, value]) => value !== false && value !== 0);
  const sizes = (kernel.sizes ?? []).map((name) => uniforms[name]).join("×");
  return `${sizes} ${named(shape)
    .map(([name, value]) => (value === true ? name : value))
    .join(" ")} (${count} a step)`;
}

/** Tunes one launch after the other, `budgetMs` each, and prints how far each kernel's own choice is from the best. */
export async function explore(
  launches: readonly Labelled[],
  { budgetMs, keep }: { budgetMs: number; keep: boolean },
  say: (line: string) => void,
): Promise<Row[]> {
  const rows: Row[] = [];
  const { winners } = gpu();
  let kept = keep && winners !== undefined;
  for (const launch of launches) {
    const [tuned] = await tune(gpu(), [launch], { budgetMs, save: false });
    if (kept && tuned) kept = winners?.save(say) ?? false;
    if (!tuned) say(`${launch.kernel.name} ${launch.label}: does not run here`);
    else rows.push(rowOf(launch.label, tuned));
    if (tuned) printTable(rows.slice(-1), say);
  }
  if (rows.length === 0) return rows;
  const worst = rows.reduce((a, b) => (Number(b.behind) > Number(a.behind) ? b : a));
  const partly = rows.filter(({ tried }) => !isWhole(String(tried))).length;
  say(
    `the default is within ${Math.ceil(100 * Number(worst.behind))}% of the best that was tried in every case (${worst.name} ${worst.case})` +
      (partly ? `; in ${partly} of ${rows.length} the budget ended before all was tried: --budget` : ""),
  );
  say(kept ? `kept in ${winners?.path}` : `nothing is kept${winners ? "" : ", for MICROMIND_TUNE is off"}`);
  return rows;
}

/** "3 of 7, 1 refused": whether that is all of them. */
function isWhole(text: string): boolean {
  const [tried, points, refused = 0] = (text.match(/\d+/g) ?? []).map(Number);
  return tried + refused === points;
}

function rowOf(label: string, { launch, winner, ms, standard, standardMs, tried, points, refused }: Tuned): Row {
  const show = (tuning: object) =>
    Object.entries(tuning)
      .map(([name, value]) => `${name} ${value}`)
      .join(" ");
  const { flops } = launch.kernel.cost(launch.shape, launch.uniforms);
  return {
    name: launch.kernel.name,
    case: label,
    ms,
    "GFLOP/s": flops / ms / 1e6,
    "default ms": standardMs,
    behind: standardMs / ms - 1,
    tried: `${tried} of ${points}${refused.length ? `, ${refused.length} refused` : ""}`,
    winner: show(winner),
    default: show(standard),
  };
}
