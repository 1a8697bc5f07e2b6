import type { Target } from "../../framework/device/kernel.ts";
import type { MatmulShape, MatmulTuning } from "../matmul.ts";
import { range, sizes, store, strips } from "./matmulParts.ts";

const WARP = { down: 4, across: 8 }; // lanes that stand together: their loads of A and B are 4 and 8 neighbouring vectors
const MOST_LANES = 256;

/** Slices are f16 where both operands are: half the shared memory and half its traffic. Sums are f32. */
const sliceType = ({ a, b }: MatmulShape) => (a === "f16" && b === "f16" ? "f16" : "f32");

function lanesOf({ tileRows, tileColumns, rows, columns }: MatmulTuning) {
  const [down, across] = [tileRows / rows, tileColumns / columns];
  return { down, across, lanes: down * across };
}

/** Whether lanes fill whole warps and the slices fit into shared memory. */
export function validTiles(shape: MatmulShape, tuning: MatmulTuning, target: Target): boolean {
  const { tileRows, tileColumns, step, ahead } = tuning;
  const { down, across, lanes } = lanesOf(tuning);
  const bytes = (tileRows + tileColumns) * step * (sliceType(shape) === "f16" ? 2 : 4) * (ahead + 1);
  const whole = down % WARP.down === 0 && across % WARP.across === 0;
  return whole && lanes <= MOST_LANES && bytes <= target.sharedBytes;
}

/**
 * A workgroup computes `tileRows` × `tileColumns` of C from slices of A and B in shared memory, `step` elements of k at a time; a lane has
 * `rows` × `columns` of it, in blocks of four, the blocks spread over the tile so that neighbouring lanes read neighbouring vectors.
 * With `ahead` there are two of each slice: while one is multiplied, each lane has its part of the next on the way from memory, and one
 * barrier a step is enough. With `split` > 1 that many workgroups share k, and leave partial sums to `matmulJoin`.
 * What a good SGEMM needs on NVIDIA's cards: Volkov & Demmel 2008 (registers over shared memory); CUTLASS, "Efficient GEMM in CUDA" (warp tiles).
 */
export function tiledMatmul(shape: MatmulShape, tuning: MatmulTuning): string {
  const { tileRows, tileColumns, rows, columns, step, ahead, split } = tuning;
  const { down, across, lanes } = lanesOf(tuning);
  const type = sliceType(shape);
  const [a, b] = [sliceOf(shape, "A", tileRows, step), sliceOf(shape, "B", tileColumns, step)];
  const [tall, wide] = [range(rows / 4), range(columns / 4)];
  const each = range(rows).flatMap((r) => wide.map((h) => ({ r, h, sum: `sum${r}_${h}` })));
  const passes = range(Math.ceil((a.blocks + b.blocks) / lanes)).map((p) => passOf(p, lanes, a, b));
  const fetch = (at: string) => passes.map(({ fetch }) => fetch(at)).join("\n        ");
  const place = (half: string) => passes.map(({ place }) => place(half)).join("\n        ");
  const multiply = (kk: number) => `
          ${tall.map((g) => `let a${g}_${kk} = vec4f(sliceA[halfA + (quad * 4u + ${kk}u) * ${a.quads}u + ((laneRow + ${g * down}u) ^ turn)]);`).join(" ")}
          ${wide.map((h) => `let b${h}_${kk} = vec4f(sliceB[halfB + (quad * 4u + ${kk}u) * ${b.quads}u + ((laneColumn + ${h * across}u) ^ turn)]);`).join(" ")}
          ${each.map(({ r, h, sum }) => `${sum} = fma(vec4f(a${r >> 2}_${kk}[${r & 3}]), b${h}_${kk}, ${sum});`).join(" ")}`;
  return `
    ${strips(shape, type)}
    ${split > 1 ? storePart(shape) : store(shape)}
    ${a.fetch}
    ${b.fetch}
    var<workgroup> sliceA: array<vec4<${type}>, ${a.size * (ahead + 1)}>; // [half][step][row / 4]
    var<workgroup> sliceB: array<vec4<${type}>, ${b.size * (ahead + 1)}>; // [half][step][column / 4]

    @compute @workgroup_size(${lanes})
    fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
      ${sizes}
      let matrix = group.z / ${split}u;
      let part = group.z % ${split}u;
      let share = ${split > 1 ? `((k + ${split * step - 1}u) / ${split * step}u) * ${step}u` : "k"};
      let end = min(k, (part + 1u) * share);
      let startA = matrix * u.strideA;
      let startB = matrix * u.strideB;
      let laneRow = lane / ${32 * (across / WARP.across)}u * ${WARP.down}u + lane % 32u / ${WARP.across}u;
      let laneColumn = lane / 32u % ${across / WARP.across}u * ${WARP.across}u + lane % ${WARP.across}u;
      ${each.map(({ sum }) => `var ${sum} = vec4f();`).join(" ")}
      ${passes.map(({ begin }) => begin).join(" ")}
      ${ahead ? `var half = 0u;\n      ${fetch("part * share")}\n      ${place("half")}\n      workgroupBarrier();` : "let half = 0u;"}
      for (var at = part * share; at < end; at += ${step}u) {
        ${ahead ? fetch(`at + ${step}u`) : `${fetch("at")}\n        workgroupBarrier();\n        ${place("half")}\n        workgroupBarrier();`}
        let halfA = half * ${a.size}u;
        let halfB = half * ${b.size}u;
        for (var quad = 0u; quad < ${step / 4}u; quad++) {
          let turn = quad * ${a.turn}u;
          ${range(4).map(multiply).join("")}
        }
        ${ahead ? `half = 1u - half;\n        ${place("half")}\n        workgroupBarrier();` : ""}
      }
      let row = group.y * ${tileRows}u + laneRow * 4u;
      let column = group.x * ${tileColumns}u + laneColumn * 4u;
      ${each
        .map(
          ({ r, h, sum }) =>
            `store(row + ${(r >> 2) * down * 4 + (r & 3)}u, column + ${h * across * 4}u, ${split > 1 ? "part * u.batch + matrix" : "matrix"}, m, n, ${sum});`,
        )
        .join("\n      ")}
    }`;
}

type Slice = ReturnType<typeof sliceOf>;

/**
 * A slice holds a vector of four lines (rows of A, columns of B) for each step. It is filled in blocks of four lines by four steps. Blocks
 * stand so that neighbouring lanes read on in memory; lines are turned by the block's step (`turn`), so that lanes that write other steps of
 * the same lines meet other banks.
 */
function sliceOf(shape: MatmulShape, name: "A" | "B", lines: number, step: number) {
  const alongK = name === "A" ? shape.layout !== "TN" : shape.layout === "NT";
  const [quads, steps] = [lines / 4, step / 4];
  const type = sliceType(shape);
  const four = (element: (i: number) => string) => `mat4x4<${type}>(${range(4).map(element).join(", ")})`;
  const line = (i: number) => `strip${name}(start + min(line + ${i}u, size - 1u) * k, step, k)`;
  const across = (i: number) =>
    `select(vec4<${type}>(), strip${name}(start + (step + ${i}u) * size, line, size), step + ${i}u < end)`;
  return {
    name,
    quads,
    blocks: quads * steps,
    size: quads * step,
    turn: 8 / steps,
    quad: (block: string) => (alongK ? `${block} / ${steps}u` : `${block} % ${quads}u`),
    step: (block: string) => (alongK ? `${block} % ${steps}u` : `${block} / ${quads}u`),
    group: name === "A" ? `group.y * ${lines}u` : `group.x * ${lines}u`,
    lines: name === "A" ? "m" : "n",
    /** WGSL: four lines from `line` at four steps from `step`, a column for each step; zeros from `end` on. */
    fetch: `fn fetch${name}(line: u32, step: u32, end: u32, start: u32, size: u32, k: u32) -> mat4x4<${type}> {
      ${alongK ? `if (step >= end) { return mat4x4<${type}>(); }\n      return transpose(${four(line)});` : `return ${four(across)};`}
    }`,
    type,
  };
}

/** What a lane does in one pass over the blocks of both slices: a block of A, of B, or whichever its number says. */
function passOf(pass: number, lanes: number, a: Slice, b: Slice) {
  const [first, last] = [pass * lanes, (pass + 1) * lanes];
  const ofA = {
    slice: a,
    from: 0,
    condition: first < a.blocks && last > a.blocks ? `block${pass} < ${a.blocks}u` : "",
  };
  const all = a.blocks + b.blocks;
  const mixed = first < a.blocks && last > a.blocks;
  const over = last > all;
  const condition = [mixed ? `block${pass} >= ${a.blocks}u` : "", over ? `block${pass} < ${all}u` : ""].filter(Boolean);
  const ofB = { slice: b, from: a.blocks, condition: condition.join(" && ") };
  const sides = [...(first < a.blocks ? [ofA] : []), ...(last > a.blocks ? [ofB] : [])];
  const when = (text: string, condition: string) => (condition ? `if (${condition}) { ${text} }` : text);
  const own = (from: number) => (from ? `(block${pass} - ${from}u)` : `block${pass}`);
  return {
    begin: `let block${pass} = lane + ${first}u; var next${pass} = mat4x4<${a.type}>();`,
    fetch: (at: string) =>
      sides
        .map(({ slice: { name, quad, step, group, lines }, from, condition }) =>
          when(
            `next${pass} = fetch${name}(${group} + ${quad(own(from))} * 4u, ${at} + ${step(own(from))} * 4u, end, start${name}, ${lines}, k);`,
            condition,
          ),
        )
        .join(" "),
    place: (half: string) =>
      sides
        .map(({ slice: { name, quads, size, turn, quad, step }, from, condition }) =>
          when(
            `{ let step = ${step(own(from))}; let to = ${half} * ${size}u + step * ${4 * quads}u + ((${quad(own(from))}) ^ (step * ${turn}u));
          ${range(4)
            .map((kk) => `slice${name}[to + ${kk * quads}u] = next${pass}[${kk}];`)
            .join(" ")} }`,
            condition,
          ),
        )
        .join(" "),
  };
}

/** WGSL `store` that leaves sums as they are, to `parts` [split, batch, m, n]. */
export function storePart({ wideC }: MatmulShape): string {
  const body = wideC
    ? "if (column < n) { parts[(start + column) >> 2u] = v; }"
    : range(4)
        .map((i) => `if (column + ${i}u < n) { parts[start + column + ${i}u] = v[${i}]; }`)
        .join(" ");
  return `
    fn store(row: u32, column: u32, matrix: u32, m: u32, n: u32, v: vec4f) {
      if (row >= m) { return; }
      let start = (matrix * m + row) * n;
      ${body}
    }`;
}
