import { range } from "./attention.ts";

/** What a workgroup of `decodeAttention` does with a token's joint projection before it attends. */
export interface DecodeHeads {
  /** A multiple of 8. */
  headDim: number;
  group: number;
  dtype: string;
  /** Whether queries and keys are normalised by head. */
  norm: boolean;
}

/** WGSL of vectors of the joint projection and of the heads' norms. */
export interface HeadsIo {
  qkv: (i: string) => string;
  qNorm: (i: string) => string;
  kNorm: (i: string) => string;
  /** Whether the lanes are known to go in step, so that what one has written the others see without a barrier. */
  lockstep: boolean;
}

/**
 * WGSL that makes the workgroup's `queries`, normalised, turned and scaled, out of qkv [batch, heads + 2 · kvHeads, headDim], and
 * puts the new key and value at the end of its row of the cache, unless that is full. Lanes share out a head's pairs of vectors.
 * `allSum(v, lane)` is there where the heads are normalised.
 */
export function placeHeads(
  { headDim, group, dtype, norm }: DecodeHeads,
  lanes: number,
  { qkv, qNorm, kNorm, lockstep }: HeadsIo,
): string {
  const [quads, half] = [headDim / 4, headDim / 8];
  const pairs = range(Math.ceil(half / lanes));
  const each = (statement: (c: number) => string) => pairs.map(statement).join(" ");
  const whole = half % lanes === 0;
  const counts = (c: number) => (whole ? "" : `if (lane + ${c * lanes}u < ${half}u) `);
  const weigh = (c: number) =>
    `let g${c} = select(${qNorm(`i${c}`)}, ${kNorm(`i${c}`)}, isKey) * r; let h${c} = select(${qNorm(`i${c} + ${half}u`)}, ${kNorm(`i${c} + ${half}u`)}, isKey) * r;
        a${c} *= g${c}; b${c} *= h${c};`;
  const turn = (c: number) =>
    `let t${c} = table[turn + 2u * i${c}]; let s${c} = table[turn + 2u * i${c} + 1u];
        let cos${c} = vec4f(t${c}.xz, s${c}.xz); let sin${c} = vec4f(t${c}.yw, s${c}.yw);
        let low${c} = a${c} * cos${c} - b${c} * sin${c}; let high${c} = b${c} * cos${c} + a${c} * sin${c};`;
  const write = (c: number) => `${counts(c)}{
          if (!isKey) { queries[h * ${quads}u + i${c}] = low${c} * scale; queries[h * ${quads}u + i${c} + ${half}u] = high${c} * scale; }
          else if (newest < u.capacity) { k[place + i${c}] = vec4<${dtype}>(low${c}); k[place + i${c} + ${half}u] = vec4<${dtype}>(high${c}); }
        }`;
  return `
      let newest = u32(lengths[at.z]);
      let place = start + newest * stride;
      let source = at.z * u.kvHeads * ${(group + 2) * quads}u;
      let turn = newest * ${half}u * 2u;
      ${each((c) => `let i${c} = min(lane + ${c * lanes}u, ${half - 1}u);`)}
      for (var h = 0u; h < ${group + 1}u + zero; h++) {
        let isKey = h == ${group}u;
        let mine = source + select(at.y * ${group}u + h, u.kvHeads * ${group}u + at.y, isKey) * ${quads}u;
        ${each((c) => `var a${c} = vec4f(${qkv(`mine + i${c}`)}); var b${c} = vec4f(${qkv(`mine + i${c} + ${half}u`)});`)}
        ${norm ? `var squares = 0.0; ${each((c) => `${counts(c)}{ squares += dot(a${c}, a${c}) + dot(b${c}, b${c}); }`)}` : ""}
        ${norm ? `let r = inverseSqrt(allSum(squares, lane) / ${headDim}.0 + u.eps); ${each(weigh)}` : ""}
        ${each(turn)}
        ${each(write)}
      }
      if (newest < u.capacity) {
        let values = source + (u.kvHeads * ${group + 1}u + at.y) * ${quads}u;
        for (var i = lane; i < ${quads}u + zero; i += ${lanes}u) { v[place + i] = vec4<${dtype}>(${qkv("values + i")}); }
      }
      ${lockstep ? "" : "storageBarrier();"}`;
}
