import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { UsageError } from "./options.ts";
import { printTable, type Row } from "./table.ts";

/** A card that is not there, and how Mesa's driver is told of it. */
interface Card {
  name: string;
  driver: "radeon" | "nouveau";
  env: Record<string, string>;
}

const cards: Card[] = [
  { name: "AMD RDNA 3 (RX 7900)", driver: "radeon", env: { RADV_FORCE_FAMILY: "navi31" } },
  { name: "AMD RDNA 2 (RX 6900)", driver: "radeon", env: { RADV_FORCE_FAMILY: "navi21" } },
  { name: "AMD Vega 20", driver: "radeon", env: { RADV_FORCE_FAMILY: "vega20" } },
  { name: "NVIDIA Hopper (H100)", driver: "nouveau", env: { CHIPSET: "180" } },
  { name: "NVIDIA Ampere (RTX 30)", driver: "nouveau", env: { CHIPSET: "172" } },
  { name: "NVIDIA Turing (RTX 20)", driver: "nouveau", env: { CHIPSET: "162" } },
];

const NO_CARD = 3; // a child's exit code: the driver does not take the card

/** What the compilers call it, by what it is called here. Cycles are their own estimates, of no use across compilers. */
const columns: Record<string, string[]> = {
  lanes: ["Subgroup size"],
  registers: ["VGPRs", "Number of GPRs"],
  spilled: ["Spilled VGPRs", "Spills to memory"],
  resident: ["Subgroups per SIMD", "Max warps/SM"],
  instructions: ["Instructions", "Instruction count"],
  cycles: ["Inverse Throughput", "Static cycle count"],
};

const MANIFESTS = "/usr/share/vulkan/icd.d";

export interface CompileOptions {
  preset: string;
  /** Kernels whose name holds one of them are printed; all where empty. */
  words: readonly string[];
}

/**
 * Compiles the kernels of training and generation by Mesa's compilers for cards that are not there: registers, what spills, and whether all
 * are accepted. Prints a table for each card.
 * @throws UsageError where there is no C compiler, no header of Vulkan's, or no driver of Mesa's
 */
export async function compileAll(options: CompileOptions, say: (line: string) => void): Promise<Row[]> {
  const folder = mkdtempSync(join(tmpdir(), "micromind-compile-"));
  try {
    const manifest = build(folder);
    const found = cards.flatMap((card) => {
      const library = driverOf(card.driver);
      return library ? [{ card, library }] : [];
    });
    if (found.length === 0)
      throw new UsageError(
        `${MANIFESTS} has no driver of Mesa's for AMD's or NVIDIA's cards: install mesa-vulkan-drivers`,
      );
    const all: Row[] = [];
    for (const { card, library } of found) {
      const rows = await compileFor(card, library, manifest, folder, options, say);
      all.push(...rows.map(({ name, ...row }) => ({ name, card: card.name, ...row })));
    }
    return all;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Builds the two libraries; returns the path of the manifest by which Vulkan's loader finds the first. */
function build(folder: string): string {
  for (const name of ["icd", "nouveau"]) {
    const source = join(import.meta.dirname, "compilers", `${name}.c`);
    const command = ["cc", "-shared", "-fPIC", "-O1", "-o", join(folder, `${name}.so`), source, "-ldl"];
    if (!Bun.which("cc")) throw new UsageError("--compile needs a C compiler (Debian: apt install gcc libc6-dev)");
    const { exitCode, stderr } = Bun.spawnSync(command);
    if (exitCode === 0) continue;
    const text = stderr.toString();
    const missing = text.includes("vulkan/vulkan.h")
      ? "--compile needs Vulkan's headers (Debian: apt install libvulkan-dev)"
      : text;
    throw new UsageError(missing);
  }
  const manifest = join(folder, "icd.json");
  const ICD = { library_path: join(folder, "icd.so"), api_version: "1.3.0" };
  writeFileSync(manifest, JSON.stringify({ file_format_version: "1.0.0", ICD }));
  writeFileSync(join(folder, "card"), "");
  truncateSync(join(folder, "card"), 2 ** 36); // no block of it is used
  return manifest;
}

function driverOf(driver: string): string | undefined {
  if (!existsSync(MANIFESTS)) return undefined;
  const file = readdirSync(MANIFESTS).find((name) => name.startsWith(`${driver}_icd`));
  return file && JSON.parse(readFileSync(join(MANIFESTS, file), "utf8")).ICD.library_path;
}

async function compileFor(
  { name, driver, env }: Card,
  library: string,
  manifest: string,
  folder: string,
  { preset, words }: CompileOptions,
  say: (line: string) => void,
): Promise<Row[]> {
  const child = Bun.spawn(
    [process.execPath, join(import.meta.dirname, "compilers", "child.ts"), preset, "f32", "f16"],
    {
      env: {
        ...process.env,
        ...{ VK_ICD_FILENAMES: manifest, VK_DRIVER_FILES: manifest, DRIVER: library, NODE: join(folder, "card") },
        ...{ MESA_SHADER_CACHE_DISABLE: "1", NVK_I_WANT_A_BROKEN_VULKAN_DRIVER: "1", ...env },
        ...(driver === "nouveau" ? { LD_PRELOAD: join(folder, "nouveau.so") } : {}),
      },
      stdout: "pipe",
      stderr: "pipe",
    },
  );
  const [output, errors] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  const code = await child.exited;
  const spoken = errors.split("\n").filter((line) => line && !line.startsWith("@"));
  if (code === NO_CARD) say(`${name}: left out (${spoken.join("; ")})\n`);
  else if (code !== 0) throw new Error(`${name}: ${spoken.join("\n")}`);
  if (code !== 0) return [];
  const rows = parse(errors);
  say(`${name}: ${output.trim()}`);
  const spilling = rows.filter(({ spilled }) => Number(spilled) > 0).length;
  say(`${rows.length} pipelines compiled, ${spilling} of them spill registers to memory\n`);
  printTable(
    rows.filter((row) => words.length === 0 || words.some((word) => row.name.includes(word))),
    say,
  );
  return rows;
}

/** Rows out of what child and driver say: a label's line, then one of statistics. */
export function parse(text: string): Row[] {
  const rows: Row[] = [];
  let label = "";
  for (const line of text.split("\n")) {
    if (line.startsWith("@pipeline ")) label = line.slice("@pipeline ".length);
    if (!line.startsWith("@compiled ")) continue;
    const said: Record<string, number> = JSON.parse(line.slice("@compiled ".length));
    const value = (names: string[]) => names.map((name) => said[name]).find((number) => number !== undefined);
    rows.push({
      name: label,
      ...Object.fromEntries(Object.entries(columns).map(([column, names]) => [column, value(names)])),
    });
  }
  return rows;
}
