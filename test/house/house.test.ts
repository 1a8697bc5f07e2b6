import { expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { growingFiles, RULES } from "./rules.ts";

const ROOT = resolve(import.meta.dirname, "../..");
const FOLDERS = ["framework", "kernels", "recipes", "bench", "test", "docs", ".ci"];
const TEXT = /(\.(ts|tsx|js|json|jsonc|md|sh|toml|yml|yaml|lock|html|css)|\/run|\.npmrc)$/;

function readHouse(): Map<string, string> {
  const files = new Map<string, string>();
  const add = (path: string) => TEXT.test(`/${path}`) && files.set(path, readFileSync(join(ROOT, path), "utf8"));
  const walk = (folder: string) => {
    for (const entry of readdirSync(join(ROOT, folder), { withFileTypes: true })) {
      const path = folder ? `${folder}/${entry.name}` : entry.name;
      if (entry.isFile()) add(path);
      else if (entry.isDirectory() && entry.name !== "node_modules" && (folder || FOLDERS.includes(path))) walk(path);
    }
  };
  walk("");
  return files;
}

const house = readHouse();
for (const [rule, broken] of Object.entries(RULES)) test(rule, () => expect(broken(house)).toEqual([]));

test("the rules see the house", () => {
  expect(house.has("package.json")).toBe(true);
  expect(house.has("framework/std/jsonc/mod.ts")).toBe(true);
  for (const line of growingFiles(house)) console.log(`note: ${line.replace("limit", "aim")}`);
});

// Each rule on a house that breaks it, and on one that only looks as if it did.
const path = (...parts: string[]) => ["", ...parts].join("/");
const off = (word: string) => `// @ts-${word}`;
const manifest = (dependencies: object) => JSON.stringify({ dependencies });
const cases: [rule: string, title: string, files: Record<string, string>, broken: string[]][] = [
  [
    "imports follow the order of the layers",
    "an import from a later layer",
    { "framework/device/a.ts": 'import type { Tensor } from "../tensor/tensor.ts";' },
    ["framework/device/a.ts imports framework/tensor/tensor.ts: framework/device comes before framework/tensor"],
  ],
  [
    "imports follow the order of the layers",
    "an import of several lines, an export from, a call of import and one for its effect",
    {
      "kernels/a.ts": 'import {\n  a,\n  b,\n} from "../framework/ops/a.ts";\nexport * from "../framework/nn/b.ts";',
      "framework/text/a.ts": 'const later = await import("../data/jsonl.ts"); import "micromind";',
    },
    [
      "kernels/a.ts imports framework/ops/a.ts: kernels comes before framework/ops",
      "kernels/a.ts imports framework/nn/b.ts: kernels comes before framework/nn",
      "framework/text/a.ts imports framework/data/jsonl.ts: framework/text comes before framework/data",
      "framework/text/a.ts imports framework/index.ts: framework/text comes before framework/index.ts",
    ],
  ],
  [
    "imports follow the order of the layers",
    "the source reaching for tests, a folder without a place, and std leaning on the house",
    {
      "framework/ops/a.ts": 'import { x } from "../../test/x.ts";',
      "framework/extra/a.ts": "",
      "framework/std/cli/a.ts": 'import { x } from "../../text/x.ts";',
    },
    [
      "framework/ops/a.ts imports test/x.ts: framework/ops comes before test",
      "framework/extra/a.ts: its folder has no place in LAYERS (test/house/rules.ts)",
      "framework/std/cli/a.ts imports framework/text/x.ts: std stands alone",
    ],
  ],
  [
    "imports follow the order of the layers",
    "imports of earlier layers, of packages, and in comments",
    {
      "framework/ops/a.ts": 'import { k } from "../../kernels/a.ts"; // import { x } from "../nn/x.ts"',
      "recipes/a.ts":
        '/** import { a } from "../test/a.ts" */ import { tensor } from "micromind"; import fs from "node:fs";',
    },
    [],
  ],
  [
    "imports make no circle",
    "three files in a circle, two that share types, and two op families",
    {
      "framework/text/a.ts": 'import "./b.ts";',
      "framework/text/b.ts": 'export { c } from "./c.ts";',
      "framework/text/c.ts": 'import { type A, a } from "./a.ts";',
      "framework/text/d.ts": 'import "./a.ts"; import type { E } from "./e.ts";',
      "framework/text/e.ts": 'import "./d.ts";',
      "framework/ops/a.ts": 'import "./b.ts";',
      "framework/ops/b.ts": 'import "./a.ts";',
    },
    ["framework/text/a.ts → framework/text/b.ts → framework/text/c.ts → framework/text/a.ts"],
  ],
  [
    "the source imports only packages that package.json lists",
    "a package that is not listed",
    {
      "package.json": manifest({ fflate: "0.8.3", "@std/cli": "workspace:*" }),
      "framework/checkpoint/a.ts": 'import "fflate"; import "@std/cli/parse-args"; import "zod/v4"; import "node:fs";',
      "test/a.test.ts": 'import { test } from "bun:test";',
    },
    ["framework/checkpoint/a.ts imports zod/v4, which package.json does not list as a dependency"],
  ],
  [
    "every kernel has its test and its bench",
    "a kernel without a bench",
    { "kernels/a.ts": "", "kernels/index.ts": "", "kernels/shared/tile.ts": "", "test/kernels/a.test.ts": "" },
    ["kernels/a.ts has no bench/kernels/a.bench.ts"],
  ],
  [
    "no file is longer than 600 lines",
    "601 lines, and 600",
    {
      "framework/ops/a.ts": "x\n".repeat(601),
      "framework/ops/b.ts": "x\n".repeat(600),
      "docs/LOG.md": "x\n".repeat(900),
    },
    ["framework/ops/a.ts has 601 lines, the limit is 600"],
  ],
  [
    "no file names a path of one machine",
    "a home folder",
    { "README.md": `see\n${path("home", "ann", "code")}`, "a.ts": `"../work/x" "https://a.org${path("work", "x")}"` },
    [`README.md:2 names a path of one machine: ${path("home", "ann", "code")}`],
  ],
  [
    "lock files name no registry",
    "an address in bun.lock",
    { "bun.lock": '"a": ["a@1", "https://r.example/a.tgz"]', "framework/std/cli/package.json": "{}" },
    ["bun.lock names a registry: https://r.example/a.tgz"],
  ],
  [
    "nothing switches the type check off",
    "any in its forms, and a comment",
    {
      "a.ts": "const a: any = 1;",
      "b.ts": "x as any",
      "c.ts": "new Map<string, any>()",
      "d.ts": `${off("ignore")}\nf();`,
      "e.ts": 'throw new Error("expected: any of a, b"); // as any number\nconst w = `let y: any = x;`;',
      "f.ts": "const company: anyhow = many as anything;",
    },
    [
      "a.ts switches the type check off: : any",
      "b.ts switches the type check off: as any",
      "c.ts switches the type check off: , any",
      `d.ts switches the type check off: ${off("ignore").slice(3)}`,
    ],
  ],
  [
    "every dependency has an exact version and a reason",
    "a range, and a package without a line",
    { "package.json": manifest({ a: "^1.0.0", b: "1.2.3", c: "workspace:*" }), "docs/DEPENDENCIES.md": "`a` `c`" },
    ["a has no exact version: ^1.0.0", "b has no line in docs/DEPENDENCIES.md that says why it is needed"],
  ],
];
for (const [rule, title, files, broken] of cases)
  test(`"${rule}" judges ${title}`, () => expect(RULES[rule]!(new Map(Object.entries(files)))).toEqual(broken));

test("every rule passes an empty house", () => {
  for (const broken of Object.values(RULES)) expect(broken(new Map())).toEqual([]);
});
