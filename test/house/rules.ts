/**
 * The house rules of the project as functions: each takes the project's files (path → text) and returns what breaks the
 * rule, a sentence each. The rules are told apart from the files, so that each is tested on a small house of its own.
 */
import { posix } from "node:path";

export type Files = ReadonlyMap<string, string>;

/** A folder imports from itself and from those before it. */
export const LAYERS = [
  "framework/device",
  "kernels",
  "framework/tensor",
  "framework/autograd",
  "framework/ops",
  "framework/nn",
  "framework/optim",
  "framework/checkpoint",
  "framework/text",
  "framework/data",
  "framework/model",
  "framework/run",
  "framework/index.ts",
  "recipes",
] as const;
/** Stands apart: a package of its own that imports nothing of ours. */
const STD = "framework/std/";
const MAX_LINES = 600;
/** Where a file should begin to think of parting. */
const NEAR_LINES = 250;

const isSource = (path: string) => /^(framework|kernels|recipes)\//.test(path) && path.endsWith(".ts");
const isCode = (path: string) => /\.(ts|tsx|sh)$/.test(path);
const withoutComments = (text: string) => text.replace(/\/\*[\s\S]*?\*\/|(^|[^:"'`\\])\/\/[^\n]*/g, "$1");
const sources = (files: Files) => [...files].filter(([path]) => isSource(path));

/**
 * What a file imports: paths in the project for relative imports and `micromind`, names of packages otherwise.
 * With `types: false` without `import type`, which is gone when the program runs.
 */
export function importsOf(path: string, text: string, { types = true } = {}): string[] {
  const found = withoutComments(text).matchAll(
    /\b(?:import|export)\b[^'"`;]*?\bfrom\s*["']([^"']+)["']|\bimport\s*\(?\s*["']([^"']+)["']/g,
  );
  const kept = [...found].filter((match) => types || !/^\w+\s+type\b/.test(match[0]));
  return kept.map((match) => {
    const name = match[1] ?? match[2]!;
    if (name === "micromind") return "framework/index.ts";
    return name.startsWith(".") ? posix.join(posix.dirname(path), name) : name;
  });
}

const inside = (path: string, folder: string) => path === folder || path.startsWith(`${folder}/`);
const layerOf = (path: string) => LAYERS.findIndex((layer) => inside(path, layer));
const isOurs = (target: string) => /^(framework|kernels|recipes|test|bench)\//.test(target);

/** Imports that run against the order of the layers, and folders that have no place in it. */
export function wrongImports(files: Files): string[] {
  const wrong: string[] = [];
  for (const [path, text] of sources(files)) {
    const own = layerOf(path);
    const targets = importsOf(path, text).filter((target) => isOurs(target) && !target.startsWith(STD));
    if (path.startsWith(STD)) wrong.push(...targets.map((target) => `${path} imports ${target}: std stands alone`));
    else if (own < 0) wrong.push(`${path}: its folder has no place in LAYERS (test/house/rules.ts)`);
    else
      for (const target of targets) {
        const layer = layerOf(target);
        if (layer < 0 || layer > own)
          wrong.push(
            `${path} imports ${target}: ${LAYERS[own]} comes before ${LAYERS[layer] ?? posix.dirname(target)}`,
          );
      }
  }
  return wrong;
}

/**
 * Circles of imports among the source files, each as `a → b → a`. Two files may name each other's types; and op
 * families call each other, since a sum's gradient expands and an expansion's gradient sums.
 */
export function cycles(files: Files): string[] {
  const graph = new Map(sources(files).map(([path, text]) => [path, importsOf(path, text, { types: false })]));
  const found: string[] = [];
  const finished = new Set<string>();
  const visit = (path: string, trail: readonly string[]) => {
    const start = trail.indexOf(path);
    if (start >= 0) found.push([...trail.slice(start), path].join(" → "));
    if (start >= 0 || finished.has(path)) return;
    for (const target of graph.get(path) ?? [])
      if (!(inside(path, "framework/ops") && inside(target, "framework/ops"))) visit(target, [...trail, path]);
    finished.add(path);
  };
  for (const path of graph.keys()) visit(path, []);
  return found;
}

/** Packages that the source imports without a line in package.json's dependencies. */
export function undeclaredPackages(files: Files): string[] {
  const { dependencies = {}, optionalDependencies = {} } = JSON.parse(files.get("package.json") ?? "{}");
  const wrong: string[] = [];
  for (const [path, text] of sources(files))
    for (const target of importsOf(path, text)) {
      const name = target
        .split("/")
        .slice(0, target.startsWith("@") ? 2 : 1)
        .join("/");
      const runtimesOwn =
        target.startsWith("node:") || (target.startsWith("bun:") && path === "framework/device/provider-bun.ts");
      if (isOurs(target) || runtimesOwn || name in dependencies || name in optionalDependencies) continue;
      wrong.push(`${path} imports ${target}, which package.json does not list as a dependency`);
    }
  return wrong;
}

/** Kernels without their test or their bench. Shared pieces live in `kernels/shared/` and need neither. */
export function incompleteKernels(files: Files): string[] {
  const kernels = [...files.keys()].filter((path) => /^kernels\/[^/]+\.ts$/.test(path) && path !== "kernels/index.ts");
  return kernels.flatMap((path) => {
    const stem = posix.basename(path, ".ts");
    const quartet = [`test/kernels/${stem}.test.ts`, `bench/kernels/${stem}.bench.ts`];
    return quartet.filter((other) => !files.has(other)).map((other) => `${path} has no ${other}`);
  });
}

const lineCount = (text: string) => text.split("\n").length - (text.endsWith("\n") ? 1 : 0);

/** Code files of more than `limit` lines, the longest first. */
export function longFiles(files: Files, limit = MAX_LINES): string[] {
  const sized = [...files].filter(([path]) => isCode(path)).map(([path, text]) => ({ path, lines: lineCount(text) }));
  return sized
    .filter(({ lines }) => lines > limit)
    .sort((a, b) => b.lines - a.lines)
    .map(({ path, lines }) => `${path} has ${lines} lines, the limit is ${limit}`);
}

/** Not wrong, but worth a look: files well over the size that we aim at. */
export const growingFiles = (files: Files) => longFiles(files, NEAR_LINES * 1.2);

/** Paths that exist on somebody's machine only. */
export function machinePaths(files: Files): string[] {
  const pattern = /(?<![\w.~})-])\/(?:root|home\/\w+|Users\/\w+|work)\/[\w.-]+|\b[A-Z]:\\Users\\/;
  return [...files].flatMap(([path, text]) => {
    const at = text.split("\n").findIndex((line) => pattern.test(line));
    return at < 0 ? [] : [`${path}:${at + 1} names a path of one machine: ${pattern.exec(text)?.[0]}`];
  });
}

/** Lock files that pin where packages come from: they would fail wherever another registry serves them. */
export function registryHosts(files: Files): string[] {
  const locks = [...files].filter(([path]) => /(^|\/)(bun\.lock|deno\.lock|package-lock\.json|\.npmrc)$/.test(path));
  return locks.flatMap(([path, text]) => {
    const host = /https?:\/\/[^"'\s]+|registry\s*=/.exec(text);
    return host ? [`${path} names a registry: ${host[0]}`] : [];
  });
}

/** `any`, and comments that switch the type check off. */
export function uncheckedTypes(files: Files): string[] {
  const off = /@ts-(?:ignore|nocheck)\b|biome-ignore[^\n]*noExplicitAny/;
  const any = /(?::|\bas|[<|&,])\s*any\b(?![\w(]|\s+of\b)|\bany\[\]/;
  return [...files]
    .filter(([path]) => /\.tsx?$/.test(path) && path !== "test/house/rules.ts")
    .flatMap(([path, text]) => {
      const code = withoutComments(text).replace(/"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'/g, '""');
      const found = off.exec(text)?.[0] ?? any.exec(code.replace(/`(?:[^`\\]|\\.)*`/g, "``"))?.[0];
      return found ? [`${path} switches the type check off: ${found.trim()}`] : [];
    });
}

/** Dependencies without a line in docs/DEPENDENCIES.md, or without an exact version. */
export function looseDependencies(files: Files): string[] {
  const manifest = JSON.parse(files.get("package.json") ?? "{}");
  const doc = files.get("docs/DEPENDENCIES.md") ?? "";
  const kinds = ["dependencies", "optionalDependencies", "devDependencies"];
  return kinds.flatMap((kind) =>
    Object.entries<string>(manifest[kind] ?? {}).flatMap(([name, version]) => [
      ...(doc.includes(`\`${name}\``)
        ? []
        : [`${name} has no line in docs/DEPENDENCIES.md that says why it is needed`]),
      ...(/^(\d+\.\d+\.\d+\S*|workspace:\*)$/.test(version) ? [] : [`${name} has no exact version: ${version}`]),
    ]),
  );
}

/** By the rule's name as a sentence; each must come back empty. */
export const RULES: Record<string, (files: Files) => string[]> = {
  "imports follow the order of the layers": wrongImports,
  "imports make no circle": cycles,
  "the source imports only packages that package.json lists": undeclaredPackages,
  "every kernel has its test and its bench": incompleteKernels,
  "no file is longer than 600 lines": longFiles,
  "no file names a path of one machine": machinePaths,
  "lock files name no registry": registryHosts,
  "nothing switches the type check off": uncheckedTypes,
  "every dependency has an exact version and a reason": looseDependencies,
};
