import type { Shape, Target } from "../../framework/device/kernel.ts";

/**
 * Kernels that walk a row with one workgroup share this: how many lanes walk it, and how their results are joined, by one
 * subgroup's own instructions or by a tree in shared memory.
 */
export interface RowTuning {
  [name: string]: number;
  lanes: number;
  subgroup: number;
}

export const rowTuning = { lanes: [8, 16, 32, 64, 128, 256], subgroup: [0, 1] } as const;

export function validRow(_: Shape, { lanes, subgroup }: RowTuning, target: Target): boolean {
  return subgroup === 0 || (target.subgroups && target.subgroupSize === lanes);
}

/** A CPU's barriers are dear: one subgroup there, a few elements a lane elsewhere. */
export function pickRow(columns: number, target: Target): RowTuning {
  if (target.class === "software" && target.subgroups && target.subgroupSize > 1)
    return { lanes: target.subgroupSize, subgroup: 1 };
  return { lanes: columns > 2048 ? 256 : columns > 256 ? 128 : columns > 128 ? 64 : 32, subgroup: 0 };
}

/** WGSL `allSum(v, lane)` and `allMax(v, lane)`: every lane gets the result over the workgroup. */
export function joins({ lanes, subgroup }: RowTuning, ...wanted: ("Sum" | "Max")[]): string {
  const functions = wanted.map((name) => {
    if (subgroup)
      return `fn all${name}(v: f32, lane: u32) -> f32 { return subgroup${name === "Sum" ? "Add" : "Max"}(v); }`;
    const join = name === "Sum" ? "joined[lane] + joined[lane + half]" : "max(joined[lane], joined[lane + half])";
    return `
    fn all${name}(v: f32, lane: u32) -> f32 {
      joined[lane] = v;
      for (var half = ${lanes / 2}u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (lane < half) { joined[lane] = ${join}; }
      }
      workgroupBarrier();
      let all = joined[0];
      workgroupBarrier();
      return all;
    }`;
  });
  return (subgroup ? "" : `var<workgroup> joined: array<f32, ${lanes}>;\n`) + functions.join("\n");
}

/** The widest vector that rows of this length are read by, and WGSL to sum or compare its parts. */
export function width(columns: number): {
  w: number;
  type: (scalar: string) => string;
  sum: (v: string) => string;
  max: (v: string) => string;
} {
  const wide = columns % 4 === 0;
  return {
    w: wide ? 4 : 1,
    type: (scalar) => (wide ? `vec4<${scalar}>` : scalar),
    sum: (v) => (wide ? `dot(${v}, vec4f(1.0))` : v),
    max: (v) => (wide ? `max(max(${v}.x, ${v}.y), max(${v}.z, ${v}.w))` : v),
  };
}
