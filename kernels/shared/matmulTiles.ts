import type { MatmulShape, MatmulTuning } from "../matmul.ts";
import { range, sizes, store, strips } from "./matmulParts.ts";

const STEPS = 16; // along k, between barriers

/**
 * A workgroup computes 64 × 64 of C from slices in shared memory, 16 steps at a time; a lane has `rows` × `rows` of it,
 * in blocks of four, the blocks spread over the tile so that neighbouring lanes read neighbouring vectors.
 */
export function tiledMatmul(shape: MatmulShape, { rows, lanes }: MatmulTuning): string {
  const side = 64 / rows; // lanes along each side
  const blocks = range(rows / 4);
  const sums = range(rows).flatMap((r) => blocks.map((h) => `sum${r}_${h}`));
  return `
    ${strips(shape)}
    ${store(shape)}
    var<workgroup> sliceA: array<vec4f, ${STEPS * 16}>; // [step][row / 4]
    var<workgroup> sliceB: array<vec4f, ${STEPS * 16}>; // [step][column / 4]

    @compute @workgroup_size(${lanes})
    fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
      ${sizes}
      let startA = group.z * u.strideA;
      let startB = group.z * u.strideB;
      ${sums.map((sum) => `var ${sum} = vec4f();`).join(" ")}
      for (var at = 0u; at < k; at += ${STEPS}u) {
        workgroupBarrier();
        ${lanes > 64 ? "if (lane < 64u)" : ""} { let block = lane; ${fill("A", "m", "group.y", shape.layout !== "TN")} }
        ${lanes > 64 ? "if (lane >= 64u && lane < 128u)" : ""} { let block = lane & 63u; ${fill("B", "n", "group.x", shape.layout === "NT")} }
        workgroupBarrier();
        for (var step = 0u; step < ${STEPS * 16}u; step += 16u) {
          ${blocks.map((g) => `let a${g} = sliceA[step + lane / ${side}u + ${g * side}u];`).join(" ")}
          ${blocks.map((h) => `let b${h} = sliceB[step + lane % ${side}u + ${h * side}u];`).join(" ")}
          ${range(rows)
            .flatMap((r) => blocks.map((h) => `sum${r}_${h} += a${r >> 2}[${r & 3}] * b${h};`))
            .join(" ")}
        }
      }
      let row = group.y * 64u + lane / ${side}u * 4u;
      let column = group.x * 64u + lane % ${side}u * 4u;
      ${range(rows)
        .flatMap((r) =>
          blocks.map(
            (h) =>
              `store(row + ${(r >> 2) * side * 4 + (r & 3)}u, column + ${h * side * 4}u, group.z, m, n, sum${r}_${h});`,
          ),
        )
        .join("\n      ")}
    }`;
}

/** Block `block` of 64, four lines by four steps, into the slice; zeros past k. */
function fill(name: "A" | "B", lines: "m" | "n", group: string, alongK: boolean): string {
  const start = `start${name}`;
  if (!alongK)
    return `
          let line = block % 16u; let step = block / 16u * 4u;
          ${range(4)
            .map(
              (i) =>
                `slice${name}[(step + ${i}u) * 16u + line] = select(vec4f(), strip${name}(${start} + (at + step + ${i}u) * ${lines}, ${group} * 64u + line * 4u, ${lines}), at + step + ${i}u < k);`,
            )
            .join("\n          ")}`;
  const turned = (kk: number) =>
    `vec4f(${range(4)
      .map((i) => `t${i}[${kk}]`)
      .join(", ")})`;
  return `
          let line = block / 4u; let step = block % 4u * 4u;
          ${range(4)
            .map(
              (i) =>
                `let t${i} = select(vec4f(), strip${name}(${start} + min(${group} * 64u + line * 4u + ${i}u, ${lines} - 1u) * k, at + step, k), at + step < k);`,
            )
            .join("\n          ")}
          ${range(4)
            .map((kk) => `slice${name}[(step + ${kk}u) * 16u + line] = ${turned(kk)};`)
            .join(" ")}`;
}
