import { kernel, linearIndex, linearWorkgroups } from "../framework/device/kernel.ts";

const LANES = 64;

/**
 * index [rows, k] u32: the columns of the k largest of each row of x [rows, columns], largest first; of equals the first. A lane walks a
 * row k times, which suits the tens of columns that a router has.
 */
export const topK = kernel({
  name: "topK",
  bindings: { x: "read", index: "write" },
  types: () => ({ index: "u32" }),
  uniforms: { rows: "u32", columns: "u32", k: "u32" },
  workgroups: (_, __, { rows, k }) => (rows * k === 0 ? [0] : linearWorkgroups(Math.ceil(rows / LANES))),
  cost: (_, { rows, columns, k }) => ({ flops: rows * columns * k, bytes: 4 * rows * (columns + k) }),
  wgsl: () => `
    @compute @workgroup_size(${LANES})
    fn main(${linearIndex.params}) {
      let row = ${linearIndex.group} * ${LANES}u + lane;
      if (row >= u.rows) { return; }
      var last = 0.0;
      var at = 0u;
      for (var j = 0u; j < u.k; j++) {
        var best = 0.0;
        var found = u.columns; // none yet
        for (var c = 0u; c < u.columns; c++) {
          let value = x[row * u.columns + c];
          let open = j == 0u || value < last || (value == last && c > at);
          if (open && (found == u.columns || value > best)) { best = value; found = c; }
        }
        last = best;
        at = min(found, u.columns - 1u); // NaN compares with nothing
        index[row * u.k + j] = at;
      }
    }`,
});
