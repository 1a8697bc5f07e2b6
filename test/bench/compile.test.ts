import { expect, setDefaultTimeout, test } from "bun:test";
import { compileAll, parse } from "../../bench/compile.ts";
import { UsageError } from "../../bench/options.ts";

setDefaultTimeout(120_000); // six cards' compilers

test("what compilers say is one table, whoever says it", () => {
  const text = [
    "Warning: a driver's own words",
    "@pipeline matmul (layout NT)",
    '@compiled {"Subgroup size":32,"VGPRs":120,"Spilled VGPRs":2,"Subgroups per SIMD":8,"Instructions":900,"Inverse Throughput":11000}',
    "@pipeline rmsNorm (columns 512)",
    '@compiled {"Subgroup size":32,"Number of GPRs":24,"Spills to memory":0,"Max warps/SM":64,"Instruction count":491,"Static cycle count":6306}',
    "@pipeline refused ()",
  ].join("\n");
  expect(parse(text)).toEqual([
    {
      name: "matmul (layout NT)",
      ...{ lanes: 32, registers: 120, spilled: 2, resident: 8, instructions: 900, cycles: 11000 },
    },
    {
      name: "rmsNorm (columns 512)",
      ...{ lanes: 32, registers: 24, spilled: 0, resident: 64, instructions: 491, cycles: 6306 },
    },
  ]);
});

test("Mesa's compilers take every kernel of training and generation, for each card that they know", async () => {
  const lines: string[] = [];
  const all = await compileAll({ preset: "tiny", words: [] }, (line) => lines.push(line)).catch((error) => {
    if (error instanceof UsageError) return undefined;
    throw error;
  });
  if (!all) return console.log("skip: no C compiler, headers of Vulkan's or drivers of Mesa's here");
  const { rows, failed } = all;
  expect(failed).toEqual([]);
  if (rows.length === 0) return console.log(`skip: ${lines.join(" ")}`);
  const names = new Set(rows.map(({ name }) => name.split(" ")[0]));
  for (const name of ["matmul", "attention", "attentionGradientKV", "adamw", "decodeAttention", "sample"])
    expect(names).toContain(name);
  for (const row of rows) expect(row).toMatchObject({ registers: expect.any(Number), lanes: expect.any(Number) });
});
