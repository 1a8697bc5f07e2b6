import {
  linearIndex,
  linearWorkgroups,
  type Shape,
  type Target,
  type Workgroups,
} from "../../framework/device/kernel.ts";

/** Element-wise kernels share this: which elements, or vectors, a lane takes. */
export interface ItemTuning {
  [name: string]: number;
  /** Of a workgroup. */
  lanes: number;
  /** Elements of a lane. */
  items: number;
  /** Lanes that stand side by side at each item. All their items come before the next lanes' first. */
  run: number;
}

/** What kernels of items have for a tuning space: `...itemSpace`. */
export const itemSpace = {
  // A CPU takes the lanes of a subgroup through all their items before it comes to the next: there, these lie in one piece.
  tuning: [
    { lanes: [64, 128, 256], items: [1, 2, 4], run: [64] },
    { lanes: [64, 128, 256], items: [4, 8, 16], run: [8] },
  ],
  valid: (_: Shape, { run }: ItemTuning, target: Target): boolean => run === 64 || target.class === "software",
  // A workgroup and a lane have their price on a CPU: few and long ones take half to two thirds of the time there.
  pick: (_: Shape, target: Target): ItemTuning =>
    target.class === "software" ? { lanes: 64, items: 16, run: 8 } : { lanes: 64, items: 1, run: 64 },
};

/** For `count` elements, or vectors. */
export const itemWorkgroups = (count: number, { lanes, items }: ItemTuning): Workgroups =>
  count === 0 ? [0] : linearWorkgroups(Math.ceil(count / (lanes * items)));

/**
 * WGSL that runs `body` for each element `i` of a lane; elements behind the last are for the body to leave, by `return`. `uniform` is any
 * that stays below 2^31: it keeps the loop rolled, for unrolled ones take seconds to compile.
 */
export function eachItem({ lanes, items, run }: ItemTuning, uniform: string, body: string): string {
  const first = `${linearIndex.group} * ${lanes * items}u + lane`;
  return `
    fn element(i: u32) {${body}
    }

    @compute @workgroup_size(${lanes})
    fn main(${linearIndex.params}) {
      ${
        items === 1
          ? `element(${first});`
          : `let first = ${first} + lane / ${run}u * ${run * (items - 1)}u;
      for (var item = 0u; item < ${items}u + (u.${uniform} >> 31u); item++) { element(first + item * ${run}u); }`
      }
    }`;
}
