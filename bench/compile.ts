import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { UsageError } from "./options.ts";
import { printTable, type Row } from "./table.ts";

/** A card that is not there, and how Mesa's driver is told of it. */
interface Card {
  name: string;
  driver: "radeon" | "nouveau" | "intel" | "asahi";
  env: Record<string, string>;
}

const cards: Card[] = [
  { name: "AMD RDNA 3 (RX 7900)", driver: "radeon", env: { RADV_FORCE_FAMILY: "navi31" } },
  { name: "AMD RDNA 2 (RX 6900)", driver: "radeon", env: { RADV_FORCE_FAMILY: "navi21" } },
  { name: "AMD Vega 20", driver: "radeon", env: { RADV_FORCE_FAMILY: "vega20" } },
  { name: "NVIDIA Hopper (H100)", driver: "nouveau", env: { CHIPSET: "180" } },
  { name: "NVIDIA Ampere (RTX 30)", driver: "nouveau", env: { CHIPSET: "172" } },
  { name: "NVIDIA Turing (RTX 20)", driver: "nouveau", env: { CHIPSET: "162" } },
  { name: "Intel Xe HPG (Arc A770)", driver: "intel", env: { DEVICE: "56a0" } },
  { name: "Intel Xe LP (Tiger Lake)", driver: "intel", env: { DEVICE: "9a49" } },
  { name: "Apple M1", driver: "asahi", env: { GENERATION: "13" } },
];

const NO_CARD = 3; // a child's exit code: the driver does not take the card

/**
 * What the compilers call it, by what it is called here. Apple's registers are of 16 bits, the others' of 32. Cycles are their own estimates,
 * of no use across compilers.
 */
const columns: Record<string, string[]> = {
  lanes: ["Subgroup size"],
  registers: ["VGPRs", "Number of GPRs", "Max live registers", "GPRs"],
  spilled: ["Spilled VGPRs", "Spills to memory", "Spill Count", "Spills"],
  resident: ["Subgroups per SIMD", "Max warps/SM", "Threads"],
  instructions: ["Instructions", "Instruction count", "Instruction Count"],
  cycles: ["Inverse Throughput", "Static cycle count", "Cycle Count"],
};

const CARD = "card"; // its file, in the child's own folder: Intel's driver knows paths of 19 characters
const MANIFESTS = "/usr/share/vulkan/icd.d";

export interface CompileOptions {
  preset: string;
  /** Kernels whose name holds one of them are printed; all where empty. */
  words: readonly string[];
}

/** A card's rows, or why there are none: left out, or failed. */
type Outcome = { rows: Row[] } | { leftOut: string } | { failed: string };

/**
 * Compiles the kernels of training and generation by Mesa's compilers for cards that are not there: registers, what spills, and whether all
 * are accepted. Prints a table for each card.
 * @returns the rows of all cards, and the cards whose driver failed
 * @throws UsageError where there is no C compiler, no header of Vulkan's, no npm package `webgpu`, no driver of Mesa's, or no such kernel
 */
export async function compileAll(
  { preset, words }: CompileOptions,
  say: (line: string) => void,
): Promise<{ rows: Row[]; failed: string[] }> {
  const folder = mkdtempSync(join(tmpdir(), "micromind-compile-"));
  const remove = () => rmSync(folder, { recursive: true, force: true });
  const stop = () => {
    remove();
    process.exit(130);
  };
  process.once("SIGINT", stop);
  try {
    prepare(folder);
    const all: Row[] = [];
    const failed: string[] = [];
    for (const card of cards) {
      const outcome = await compileFor(card, folder, preset, say);
      if ("leftOut" in outcome) say(`${card.name}: left out (${outcome.leftOut})\n`);
      if ("failed" in outcome) {
        say(`${card.name}: failed (${outcome.failed})\n`);
        failed.push(card.name);
      }
      if (!("rows" in outcome)) continue;
      const rows = outcome.rows.filter(({ name }) => words.length === 0 || words.some((word) => name.includes(word)));
      printTable(rows, say);
      all.push(...rows.map(({ name, ...row }) => ({ name, card: card.name, ...row })));
    }
    if (words.length && all.length === 0 && failed.length === 0)
      throw new UsageError(`--compile: no kernel that was compiled is called ${words.join(" or ")}`);
    return { rows: all, failed };
  } finally {
    process.off("SIGINT", stop);
    remove();
  }
}

/**
 * Builds the driver in front, writes the manifest by which Vulkan's loader finds it, and the cards' file. All paths are the child's, in its
 * folder.
 */
function prepare(folder: string): void {
  if (!Bun.which("cc")) throw new UsageError("--compile needs a C compiler (Debian: apt install gcc libc6-dev)");
  try {
    Bun.resolveSync("webgpu", import.meta.dirname);
  } catch {
    throw new UsageError("--compile needs the npm package webgpu (bun install)");
  }
  if (!cards.some(({ driver }) => driverOf(driver)))
    throw new UsageError(
      `${MANIFESTS} has no driver of Mesa's for AMD's, NVIDIA's, Intel's or Apple's GPUs: install mesa-vulkan-drivers`,
    );
  build("icd", folder);
  const ICD = { library_path: "./icd.so", api_version: "1.3.0" };
  writeFileSync(join(folder, "icd.json"), JSON.stringify({ file_format_version: "1.0.0", ICD }));
  writeFileSync(join(folder, CARD), "");
  truncateSync(join(folder, CARD), 2 ** 36); // little of it is used
}

const needed: Record<string, string> = { icd: "libvulkan-dev", intel: "libdrm-dev" };

/** Builds one of `compilers/`, where it is not built yet. */
function build(name: string, folder: string): void {
  const library = join(folder, `${name}.so`);
  if (existsSync(library)) return;
  const source = join(import.meta.dirname, "compilers", `${name}.c`);
  const { exitCode, stderr } = Bun.spawnSync(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"]);
  if (exitCode === 0) return;
  const text = stderr.toString();
  throw new UsageError(
    /No such file/.test(text)
      ? `--compile needs headers (Debian, with -t where Mesa is from backports: apt install ${needed[name]})`
      : text,
  );
}

function driverOf(driver: string): string | undefined {
  if (!existsSync(MANIFESTS)) return undefined;
  const file = readdirSync(MANIFESTS).find((name) => name.startsWith(`${driver}_icd`));
  return file && JSON.parse(readFileSync(join(MANIFESTS, file), "utf8")).ICD.library_path;
}

async function compileFor(
  { name, driver, env: card }: Card,
  folder: string,
  preset: string,
  say: (line: string) => void,
): Promise<Outcome> {
  const library = driverOf(driver);
  if (!library) return { leftOut: `${MANIFESTS} has no driver ${driver}` };
  // AMD's driver knows by itself of cards that are not there; elsewhere something takes libdrm's place.
  const instead = driver === "radeon" ? {} : { LD_PRELOAD: `./${driver}.so` };
  try {
    if (driver !== "radeon") build(driver, folder);
  } catch (error) {
    if (error instanceof UsageError) return { leftOut: error.message };
    throw error;
  }
  const paths = { DRIVER: library, VK_ICD_FILENAMES: "./icd.json", VK_DRIVER_FILES: "./icd.json", NODE: CARD };
  const own = { MESA_SHADER_CACHE_DISABLE: "1", NVK_I_WANT_A_BROKEN_VULKAN_DRIVER: "1" };
  const child = Bun.spawn(
    [process.execPath, join(import.meta.dirname, "compilers", "child.ts"), preset, "f32", "f16"],
    {
      cwd: folder,
      env: { ...process.env, ...own, ...paths, ...instead, ...card },
      stdout: "pipe",
      stderr: "pipe",
    },
  );
  const [output, errors] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  const code = await child.exited;
  const spoken = errors.split("\n").filter((line) => line && !line.startsWith("@"));
  if (code === NO_CARD) return { leftOut: spoken.join("; ") };
  if (code !== 0) return { failed: [child.signalCode ?? `exit code ${code}`, ...spoken].join("; ") };
  const rows = parse(errors);
  say(`${name}: ${output.trim()}`);
  const spilling = rows.filter(({ spilled }) => Number(spilled) > 0).length;
  say(`${rows.length} pipelines compiled, ${spilling} of them spill registers to memory\n`);
  return { rows };
}

/** Rows out of what child and driver say: a label's line, then one of statistics. */
export function parse(text: string): Row[] {
  const rows: Row[] = [];
  let label = "";
  for (const line of text.split("\n")) {
    if (line.startsWith("@pipeline ")) label = line.slice("@pipeline ".length);
    if (!line.startsWith("@compiled ") || !label) continue; // what was compiled before is the engine's own trial
    const said: Record<string, number> = JSON.parse(line.slice("@compiled ".length));
    const value = (names: string[]) => names.map((name) => said[name]).find((number) => number !== undefined);
    rows.push({
      name: label,
      ...Object.fromEntries(Object.entries(columns).map(([column, names]) => [column, value(names)])),
    });
  }
  return rows;
}
