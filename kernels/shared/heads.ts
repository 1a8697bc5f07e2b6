import type { Scalar, Shape, Target } from "../../framework/device/kernel.ts";

/** What the kernels between the projections and attention have compiled in. */
export interface HeadsShape {
  [name: string]: number | string | boolean;
  heads: number;
  kvHeads: number;
  /** A multiple of 8. */
  headDim: number;
  /** Whether queries and keys are normalised by head, as in Qwen3. */
  norm: boolean;
  /** Whether queries and keys are turned by their positions. */
  rotary: boolean;
  /** Positions come from a buffer; otherwise token t of a row stands at `offset + t`. */
  positions: boolean;
  /** Keys and values go to the rows of their tokens' positions; needs `positions`. */
  byPosition: boolean;
  dtype: Scalar;
}

export interface HeadsTuning {
  [name: string]: number;
  /** Of a workgroup. */
  lanes: number;
  /** Lanes that share one head of one token; each has pairs of vectors, one from each half. */
  share: number;
}

export const headsTuning = { lanes: [64, 8, 128], share: [1, 2, 4, 8, 16, 32] } as const;

export function validHeads(shape: Shape, { lanes, share }: HeadsTuning): boolean {
  const pairs = (shape.headDim as number) / 8;
  return pairs % share === 0 && lanes % share === 0;
}

/** A CPU's lanes each walk a head alone; a GPU's share it, so that they read neighbouring vectors. */
export function pickHeads({ headDim }: HeadsShape, target: Target): HeadsTuning {
  if (target.class === "software") return { lanes: 8, share: 1 };
  return { lanes: 64, share: [32, 16, 8, 4, 2, 1].find((n) => (headDim / 8) % n === 0) ?? 1 };
}

/** Loop over the lane's pairs of vectors, `j` being the low one's place in the head. Long ones hide their bound, so that they stay rolled. */
export const eachPair = ({ headDim }: HeadsShape, { share }: HeadsTuning, body: string): string => {
  const pairs = headDim / 8 / share;
  return `for (var i = 0u; i < ${pairs}u${pairs > 4 ? " + zero" : ""}; i++) { let j = part + i * ${share}u; ${body} }`;
};

/** WGSL `allSum(v, lane)`: the sum over the lanes that share a head. */
export function shareSum({ lanes, share }: HeadsTuning): string {
  if (share === 1) return "fn allSum(v: f32, lane: u32) -> f32 { return v; }";
  return `
    var<workgroup> shared_: array<f32, ${lanes}>;
    fn allSum(v: f32, lane: u32) -> f32 {
      shared_[lane] = v;
      workgroupBarrier();
      var sum = 0.0;
      let first = lane / ${share}u * ${share}u;
      for (var i = 0u; i < ${share}u; i++) { sum += shared_[first + i]; }
      workgroupBarrier();
      return sum;
    }`;
}

/** WGSL that defines `c` and `s`, the cosines and sines of the pair's four angles, in the sense of `direction`. */
export const turn = ({ headDim }: HeadsShape, direction: "" | "-"): string => `
        let t0 = table[at * ${headDim / 4}u + 2u * j]; let t1 = table[at * ${headDim / 4}u + 2u * j + 1u];
        let c = vec4f(t0.xz, t1.xz); let s = ${direction}vec4f(t0.yw, t1.yw);`;

/** The position of `token`. */
export const positionOf = ({ positions }: HeadsShape): string =>
  positions ? "u32(position[token])" : "u.offset + token % u.length";
