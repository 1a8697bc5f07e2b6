import type { Scalar } from "../../framework/device/kernel.ts";
import { range } from "./attention.ts";
import { type HeadsIo, placeHeads } from "./decodeHeads.ts";
import { joins, width } from "./row.ts";

export interface DecodeShape {
  [name: string]: number | boolean | string;
  headDim: number;
  /** Query heads per key head; they share every load of a key and a value. */
  group: number;
  dtype: Scalar;
  /** Keys of a workgroup, a multiple of 4 · lanes; 0: all of a row's, and the result is finished here, not in `decodeCombine`. */
  span: number;
  /**
   * `qkv`: takes the joint projection [batch, (group + 2) · kvHeads, headDim] for q, turns queries and key by the rotary table, normalises them
   * first with `norm`, and puts key and value into the cache. headDim is a multiple of 8 then, and span 0.
   */
  source: "q" | "qkv";
  norm: boolean;
}

export interface DecodeTuning {
  [name: string]: number;
  lanes: number;
  /** Whether the lanes are one subgroup, which hands weights round without shared memory. */
  subgroup: number;
  /** Whether the compiler may unroll loops: on a GPU it loads ahead so, on a CPU it takes seconds to compile, and runs slower. */
  unroll: number;
}

/** WGSL of what `attend` reads and writes, by vectors of the head's width. */
export interface AttendIo extends HeadsIo {
  /** `value` is of the shape's dtype, f32 with spans. */
  store: (place: string, value: string) => string;
}

/** Bytes of shared memory: queries, weights, what is joined. */
export function sharedBytes({ headDim, group }: DecodeShape, { lanes, subgroup }: DecodeTuning): number {
  return (
    4 * group * headDim +
    (subgroup ? 0 : 20 * group * lanes) +
    (ownSums(headDim, lanes, subgroup) ? 16 * group * lanes : 0)
  );
}

/** Whether sums of several slices of keys need a place of their own: vectors go where the weights were. */
const ownSums = (headDim: number, lanes: number, subgroup: number): boolean =>
  slicesOf(headDim, lanes) > 1 && (subgroup > 0 || headDim % 4 > 0);

/** Slices of the keys that lanes share out, where they outnumber columns. */
const slicesOf = (headDim: number, lanes: number): number =>
  Math.max(1, Math.floor(lanes / (headDim / width(headDim).w)));

/**
 * WGSL `attend(at, lane)`, what a workgroup of `decodeAttention` does, at being (span, key head, row), and the shared memory that it takes. It reads
 * the kernel's uniforms, and but for `io` its bindings.
 */
export function attendFunction(shape: DecodeShape, { lanes, subgroup, unroll }: DecodeTuning, io: AttendIo): string {
  const { headDim, group, dtype, span, source, norm } = shape;
  const { w, type } = width(headDim);
  const barrier = io.lockstep ? "" : "workgroupBarrier();";
  const columns = headDim / w;
  const V = type("f32");
  const slices = slicesOf(headDim, lanes);
  const apart = ownSums(headDim, lanes, subgroup);
  const sums = apart ? "sums" : "weights";
  const own = range(Math.ceil(columns / lanes)); // columns of a lane
  const heads = range(group);
  const four = (item: (j: number) => string, join = " ") => range(4).map(item).join(join);
  const all = (statement: (g: number) => string) => heads.map(statement).join("\n        ");
  const product = (a: string, b: string) => (w === 4 ? `dot(${a}, ${b})` : `${a} * ${b}`);
  const weights = (g: number) => (subgroup ? `subgroupShuffle(p${g}, i)` : `weights[i + ${g * lanes}u]`);
  const key = (n: string) => `start + min(${n}, end - 1u) * stride`;
  return `
    var<workgroup> queries: array<${V}, ${group * columns}>;
    ${subgroup ? "" : `var<workgroup> weights: array<vec4f, ${group * lanes}>;\nvar<workgroup> joined: array<f32, ${group * lanes}>;`}
    ${norm ? joins({ lanes, subgroup }, "Sum") : ""}
    ${apart ? `var<workgroup> sums: array<${V}, ${group * lanes}>;` : ""}

    fn attend(at: vec3u, lane: u32) {
      let zero = ${unroll ? "0u" : "u.batch >> 31u"}; // 0, which the compiler must not know where it should not unroll
      let length = min(u32(lengths[at.z]) + 1u, u.capacity);
      let first = at.x * ${span}u;
      if (first >= length) { return; }
      let end = ${span ? `min(length, first + ${span}u)` : "length"};
      let head = (at.z * u.kvHeads + at.y) * ${group}u;
      let stride = u.kvHeads * ${columns}u;
      let start = at.z * u.capacity * stride + at.y * ${columns}u;
      let scale = u.scale * 1.44269504;
      ${
        source === "qkv"
          ? placeHeads(shape, lanes, io)
          : `for (var i = lane; i < ${group * columns}u + zero; i += ${lanes}u) { queries[i] = ${V}(q[head * ${columns}u + i]) * scale; }`
      }
      ${barrier}
      ${own.map((c) => `let column${c} = min(lane % ${Math.min(slices > 1 ? columns : lanes, columns)}u + ${c * lanes}u, ${columns - 1}u);`).join(" ")}
      let slice = ${slices > 1 ? `min(lane / ${columns}u, ${slices - 1}u)` : "0u"};
      ${all((g) => `var top${g} = -1e30; var total${g} = 0.0; ${own.map((c) => `var o${g}_${c} = ${V}();`).join(" ")}`)}
      for (var s = first; s < end; s += ${4 * lanes}u) {
        let mine = s + lane * 4u;
        ${four((j) => `let key${j} = ${key(`mine + ${j}u`)};`)}
        ${all((g) => `var p${g} = vec4f();`)}
        for (var d = 0u; d < ${columns}u + zero; d++) {
          ${four((j) => `let k${j} = ${V}(k[key${j} + d]);`)}
          ${all((g) => `{ let a = queries[d + ${g * columns}u]; p${g} += vec4f(${four((j) => product("a", `k${j}`), ", ")}); }`)}
        }
        let seen = vec4u(mine, mine + 1u, mine + 2u, mine + 3u) < vec4u(end);
        ${all((g) => `p${g} = select(vec4f(-2e30), p${g}, seen); var peak${g} = max(max(p${g}.x, p${g}.y), max(p${g}.z, p${g}.w));`)}
        ${joinAll("peak", "max", { heads, lanes, subgroup })}
        ${all(
          (g) => `peak${g} = max(peak${g}, top${g});
        p${g} = exp2(p${g} - peak${g});
        let shrink${g} = exp2(top${g} - peak${g});
        top${g} = peak${g};
        total${g} = total${g} * shrink${g} + dot(p${g}, vec4f(1.0));
        ${own.map((c) => `o${g}_${c} *= shrink${g};`).join(" ")}`,
        )}
        ${subgroup ? "" : `${all((g) => `weights[lane + ${g * lanes}u] = p${g};`)} workgroupBarrier();`}
        let used = min(${lanes}u, (end - s + 3u) / 4u);
        for (var n = 0u; n < used; n += ${slices}u) {
          let i = ${slices > 1 ? `min(n + slice, ${lanes - 1}u)` : "n"};
          ${slices > 1 ? "let counts = f32(n + slice < used);" : ""}
          ${four((j) => `let row${j} = ${key(`s + i * 4u + ${j}u`)};`)}
          ${all((g) => `let w${g} = ${weights(g)}${slices > 1 ? " * counts" : ""};`)}
          ${own
            .map(
              (c) => `{ ${four((j) => `let v${j} = ${V}(v[row${j} + column${c}]);`)}
          ${all((g) => `o${g}_${c} += ${four((j) => `w${g}[${j}] * v${j}`, " + ")};`)} }`,
            )
            .join(" ")}
        }
      }
      ${joinAll("total", "sum", { heads, lanes, subgroup })}
      ${
        slices > 1
          ? `${all((g) => `${sums}[lane + ${g * lanes}u] = o${g}_0;`)}
      ${barrier}
      if (lane >= ${columns}u) { return; }
      ${all((g) => `for (var i = 1u; i < ${slices}u + zero; i++) { o${g}_0 += ${sums}[i * ${columns}u + lane + ${g * lanes}u]; }`)}`
          : ""
      }
      ${own
        .map((c) => {
          const exists = (c + 1) * lanes <= columns || slices > 1 ? "" : `if (lane + ${c * lanes}u < ${columns}u) `;
          const place = (g: number) =>
            span
              ? `((head + ${g}u) * u.spans + at.x) * ${columns}u + column${c}`
              : `(head + ${g}u) * ${columns}u + column${c}`;
          const value = (g: number) => (span ? `o${g}_${c}` : `${type(dtype)}(o${g}_${c} * (1.0 / total${g}))`);
          return `${exists}{ ${all((g) => io.store(place(g), value(g)))} }`;
        })
        .join("\n      ")}
      ${span ? `if (lane == 0u) { ${all((g) => `stats[(head + ${g}u) * u.spans + at.x] = vec2f(top${g}, total${g});`)} }` : ""}
    }`;
}

/** WGSL that makes `name`g of every lane the largest or the sum of all lanes', for all heads with the same barriers. */
function joinAll(
  name: string,
  how: "max" | "sum",
  { heads, lanes, subgroup }: { heads: number[]; lanes: number; subgroup: number },
): string {
  const join = (a: string, b: string) => (how === "max" ? `max(${a}, ${b})` : `${a} + ${b}`);
  const each = (statement: (g: number) => string) => heads.map(statement).join(" ");
  if (subgroup) {
    const steps = range(Math.log2(lanes)).map((i) => 2 ** i);
    return each((g) =>
      steps
        .map((step) => `${name}${g} = ${join(`${name}${g}`, `subgroupShuffleXor(${name}${g}, ${step}u)`)};`)
        .join(" "),
    );
  }
  const place = (g: number, half = "") => `joined[lane + ${g * lanes}u${half}]`;
  return `
        workgroupBarrier();
        ${each((g) => `${place(g)} = ${name}${g};`)}
        for (var half = ${lanes / 2}u; half > zero; half /= 2u) {
          workgroupBarrier();
          if (lane < half) { ${each((g) => `${place(g)} = ${join(place(g), place(g, " + half"))};`)} }
        }
        workgroupBarrier();
        ${each((g) => `${name}${g} = joined[${g * lanes}];`)}`;
}
