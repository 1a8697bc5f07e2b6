import type { Target } from "../../framework/device/kernel.ts";
import type { MatmulShape, MatmulTuning } from "../matmul.ts";
import { bounds, range, store, strips } from "./matmulParts.ts";

const WARP = { down: 4, across: 8 }; // lanes that stand together: their loads of A and B are 4 and 8 neighbouring vectors
const MOST_LANES = 256;

/**
 * f16 slices take half the shared memory and half its traffic, but every element is converted each time that it is loaded, where one of
 * f32 is converted once. Sums are f32.
 */
const sliceType = ({ halves }: MatmulTuning) => (halves ? "f16" : "f32");

function lanesOf({ tileRows, tileColumns, rows, columns }: MatmulTuning) {
  const [down, across] = [tileRows / rows, tileColumns / columns];
  return { down, across, lanes: down * across };
}

/** Whether lanes fill whole warps and the slices fit into shared memory. */
export function validTiles(shape: MatmulShape, tuning: MatmulTuning, target: Target): boolean {
  const { tileRows, tileColumns, step, ahead, halves } = tuning;
  const { down, across, lanes } = lanesOf(tuning);
  const bytes = (tileRows + tileColumns) * step * (halves ? 2 : 4) * (ahead + 1);
  const whole = down % WARP.down === 0 && across % WARP.across === 0;
  const possible = !halves || (shape.a === "f16" && shape.b === "f16");
  return possible && whole && lanes <= MOST_LANES && bytes <= target.sharedBytes;
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
  const type = sliceType(tuning);
  const [a, b] = [sliceOf(shape, "A", tileRows, tuning), sliceOf(shape, "B", tileColumns, tuning)];
  const [tall, wide] = [range(rows / 4), range(columns / 4)];
  const each = range(rows).flatMap((r) => wide.map((h) => ({ r, h, sum: `sum${r}_${h}` })));
  const passes = passesOf(lanes, a, b);
  const fetch = (at: string) => passes.map(({ fetch }) => fetch(at)).join("\n        ");
  const place = (at: string) => passes.map(({ place }) => place(at)).join("\n        ");
  const multiply = (kk: number) => `
          ${tall.map((g) => `let a${g}_${kk} = vec4f(sliceA[slab][${kk}][atA${g}]);`).join(" ")}
          ${wide.map((h) => `let b${h}_${kk} = vec4f(sliceB[slab][${kk}][atB${h}]);`).join(" ")}
          ${each.map(({ r, h, sum }) => `${sum} = fma(vec4f(a${r >> 2}_${kk}[${r & 3}]), b${h}_${kk}, ${sum});`).join(" ")}`;
  return `
    ${strips(shape, type)}
    ${split > 1 ? storePart(shape) : store(shape)}
    ${a.functions}
    ${b.functions}
    var<workgroup> sliceA: ${a.array(ahead + 1)}; // [half, step / 4][step % 4][row / 4]
    var<workgroup> sliceB: ${b.array(ahead + 1)}; // [half, step / 4][step % 4][column / 4]

    @compute @workgroup_size(${lanes})
    fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
      let matrix = group.z / ${split}u;
      let part = group.z % ${split}u;
      ${bounds(shape, "matrix")}
      let share = ${split > 1 ? `((k + ${split * step - 1}u) / ${split * step}u) * ${step}u` : "k"};
      let end = min(k, (part + 1u) * share);
      let laneRow = lane / ${32 * (across / WARP.across)}u * ${WARP.down}u + lane % 32u / ${WARP.across}u;
      let laneColumn = lane / 32u % ${across / WARP.across}u * ${WARP.across}u + lane % ${WARP.across}u;
      ${each.map(({ sum }) => `var ${sum} = vec4f();`).join(" ")}
      ${passes.map(({ begin }) => begin).join(" ")}
      ${ahead ? `var half = 0u;\n      ${fetch("part * share")}\n      ${place("part * share")}\n      workgroupBarrier();` : "let half = 0u;"}
      for (var at = part * share; at < end; at += ${step}u) {
        ${ahead ? fetch(`at + ${step}u`) : `${fetch("at")}\n        workgroupBarrier();\n        ${place("at")}\n        workgroupBarrier();`}
        for (var quad = 0u; quad < ${step / 4}u; quad++) {
          let slab = half * ${step / 4}u + quad;
          let turn = quad * ${a.turn}u;
          ${tall.map((g) => `let atA${g} = (laneRow + ${g * down}u) ^ turn;`).join(" ")}
          ${wide.map((h) => `let atB${h} = (laneColumn + ${h * across}u) ^ turn;`).join(" ")}
          ${range(4).map(multiply).join("")}
        }
        ${ahead ? `half = 1u - half;\n        ${place(`at + ${step}u`)}\n        workgroupBarrier();` : ""}
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
 * A slice holds a vector of four lines (rows of A, columns of B) for each step. It is filled in blocks of four lines by four steps, which
 * stand so that neighbouring lanes read on in memory; lines are turned by the block's step, so that lanes that write other steps of the
 * same lines meet other banks. The place of a step in its block is an index of its own, known when the kernel is compiled: indices that are
 * not are checked against the array's length, one by one, and a load of each step would compute its address anew. What lies at `end` or
 * behind becomes zero only as it is placed: nobody waits for a load before that.
 */
function sliceOf(shape: MatmulShape, name: "A" | "B", lines: number, tuning: MatmulTuning) {
  const { step } = tuning;
  const alongK = name === "A" ? shape.layout !== "TN" : shape.layout === "NT";
  const [quads, steps] = [lines / 4, step / 4];
  const type = sliceType(tuning);
  const four = (vector: (i: number) => string) => `mat4x4<${type}>(${range(4).map(vector).join(", ")})`;
  const along = (i: number) => `strip${name}(start + min(line + ${i}u, size - 1u) * k, step, k)`;
  const across = (i: number) => `strip${name}(start + (step + ${i}u) * size, line, size)`;
  const place = `
      let quad = ${alongK ? `block / ${steps}u` : `block % ${quads}u`};
      let part = ${alongK ? `block % ${steps}u` : `block / ${quads}u`};`;
  return {
    name,
    blocks: quads * steps,
    /** The type of so many slices. */
    array: (count: number) => `array<array<array<vec4<${type}>, ${quads}>, 4>, ${count * steps}>`,
    turn: 8 / steps,
    type,
    /** WGSL: takes four lines by four steps, a column for each step, and puts them into one half of the slice. */
    functions: `
    fn fetch${name}(block: u32, at: u32, first: u32, start: u32, size: u32, k: u32) -> mat4x4<${type}> {${place}
      let line = first + quad * 4u;
      let step = at + part * 4u;
      return ${alongK ? `transpose(${four(along)})` : four(across)};
    }
    fn place${name}(block: u32, at: u32, end: u32, half: u32, v: mat4x4<${type}>) {${place}
      let step = at + part * 4u;
      let to = half * ${steps}u + part;
      let turned = quad ^ (part * ${8 / steps}u);
      ${range(4)
        .map((i) => `slice${name}[to][${i}][turned] = select(vec4<${type}>(), v[${i}], step + ${i}u < end);`)
        .join(" ")}
    }`,
    fetch: (block: string, at: string) =>
      name === "A"
        ? `fetchA(${block}, ${at}, group.y * ${lines}u, startA, m, k)`
        : `fetchB(${block}, ${at}, group.x * ${lines}u, startB, n, k)`,
  };
}

/** The blocks of both slices, those of A first, dealt out to the lanes: in each pass a lane has one of A, of B, or none. */
function passesOf(lanes: number, a: Slice, b: Slice) {
  const all = a.blocks + b.blocks;
  return range(Math.ceil(all / lanes)).map((pass) => {
    const [first, last] = [pass * lanes, (pass + 1) * lanes];
    const [block, next] = [`block${pass}`, `next${pass}`];
    const sides = [
      { slice: a, own: block, has: first < a.blocks, when: [last > a.blocks && `${block} < ${a.blocks}u`] },
      {
        ...{ slice: b, own: `${block} - ${a.blocks}u`, has: last > a.blocks },
        when: [first < a.blocks && `${block} >= ${a.blocks}u`, last > all && `${block} < ${all}u`],
      },
    ];
    const each = (text: (slice: Slice, own: string) => string) =>
      sides
        .filter(({ has }) => has)
        .map(({ slice, own, when }) => {
          const condition = when.filter(Boolean).join(" && ");
          return condition ? `if (${condition}) { ${text(slice, own)} }` : text(slice, own);
        })
        .join(" ");
    return {
      begin: `let ${block} = lane + ${first}u; var ${next} = mat4x4<${a.type}>();`,
      fetch: (at: string) => each((slice, own) => `${next} = ${slice.fetch(own, at)};`),
      place: (at: string) => each(({ name }, own) => `place${name}(${own}, ${at}, end, half, ${next});`),
    };
  });
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
