import { kernel, type Target } from "../framework/device/kernel.ts";

export interface SumRowsShape {
  [name: string]: boolean;
  /** y += instead of y = */
  accumulate: boolean;
}

export interface SumRowsTuning {
  [name: string]: number;
  /** Columns of a workgroup. */
  columns: number;
  /** Lanes that share a column's rows. */
  lanes: number;
}

/**
 * y[c] (+)= Σ x[r, c] over x [rows, columns] from row `start` on: joins the partial sums of gradients, always in the same order.
 * The rows of a column are dealt out to lanes, since what bounds it is the wait for each load.
 */
export const sumRows = kernel<SumRowsShape, SumRowsTuning>({
  name: "sumRows",
  bindings: ({ accumulate }) => ({ x: "read", y: accumulate ? "update" : "write" }),
  uniforms: { start: "u32", rows: "u32", columns: "u32" },
  sizes: ["rows", "columns"],
  tuning: { columns: [16, 8, 32], lanes: [16, 1, 8] },
  valid: (_, { columns, lanes }) => columns * lanes <= 256, // WebGPU promises no more
  pick: (_, target: Target) => (target.class === "software" ? { columns: 8, lanes: 1 } : { columns: 16, lanes: 16 }),
  workgroups: (_, { columns: own }, { columns }) => [Math.ceil(columns / own)],
  cost: (_, { rows, columns }) => ({ flops: rows * columns, bytes: 4 * rows * columns }),
  wgsl: ({ accumulate }, { columns, lanes }) => `
    var<workgroup> joined: array<f32, ${columns * lanes}>;

    @compute @workgroup_size(${columns * lanes})
    fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
      let c = group.x * ${columns}u + lane % ${columns}u;
      var sum = 0.0;
      if (c < u.columns) {
        for (var r = lane / ${columns}u; r < u.rows; r += ${lanes}u) { sum += x[(u.start + r) * u.columns + c]; }
      }
      ${
        lanes === 1
          ? ""
          : `
      joined[lane] = sum;
      for (var half = ${lanes / 2}u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (lane < half * ${columns}u) { joined[lane] += joined[lane + half * ${columns}u]; }
      }
      sum = joined[lane];`
      }
      if (lane < ${columns}u && c < u.columns) { y[c] = sum${accumulate ? " + y[c]" : ""}; }
    }`,
});
