import type { Kernel, Shape, Target, Tuning } from "../../framework/device/kernel.ts";
import { type MatrixUnit, unitOf, zeros } from "../../kernels/shared/matrixUnits.ts";

/**
 * The kernel with its subgroup matrices done in plain WGSL, so that its own text, with its indexing, staging, edges and epilogues,
 * runs where there are no matrix units. Every lane computes whole fragments; of those it stores, it writes the elements that fall to it, so
 * that a barrier forgotten between subgroups can show. The sum that a multiplication takes is the one that it gives. Loads from outside of their array give NaN.
 */
export function emulated<S extends Shape, T extends Tuning>(kernel: Kernel<S, T>): Kernel<S, T> {
  const wgsl = (shape: S, tuning: T) => emulate(kernel.wgsl(shape, tuning), unitOf(tuning.unit));
  return { ...kernel, name: `emulated ${kernel.name}`, wgsl };
}

/** A target with the unit's fragments, small ones for the emulation's sake. */
export const withUnit = (target: Target, { lanes, m, n, k }: MatrixUnit): Target => ({
  ...target,
  class: "matrix",
  subgroupSize: lanes,
  matrix: { m, n, k },
});

/** Points to try on an adapter's own units: all on a GPU, few on llvmpipe, which compiles each for seconds to a minute. */
export const affordable = <P>(points: readonly P[], { class: kind }: Target): P[] =>
  points.filter((_, i) => kind !== "software" || i % 16 === 0);

/** How four neighbours of a fragment lie in an array of such vectors: where from the line's begin on, and the load of f16 or the store of f32 there. */
const loads: Record<string, [at: string, wgsl: string]> = {
  "vec4<f16>": ["quad", "vec4f(ARRAY[at])"],
  vec2u: ["quad", "vec4f(bitcast<vec4<f16>>(ARRAY[at]))"],
  vec4u: ["quad / 2u", "vec4f(bitcast<vec4<f16>>(select(ARRAY[at].xy, ARRAY[at].zw, quad % 2u == 1u)))"],
};
const stores: Record<string, [at: string, wgsl: string]> = {
  vec4f: ["quad", "ARRAY[at] = four;"],
  vec2u: ["2u * quad", "ARRAY[at] = bitcast<vec2u>(four.xy); ARRAY[at + 1u] = bitcast<vec2u>(four.zw);"],
  vec4u: ["quad", "ARRAY[at] = bitcast<vec4u>(four);"],
};

/** Every load and every `Sum()` of the text has a place of its own in a private array: values are places, so that Mesa copies nothing. */
function emulate(source: string, { lanes, m, n, k }: MatrixUnit): string {
  const shapes: Record<string, [rows: number, columns: number]> = { Left: [m, k], Right: [k, n], Sum: [m, n] };
  const size = Math.max(m * k, k * n, m * n);
  const functions = new Map<string, string>();
  let places = 0;
  const call = (name: string, text: string, ownPlace: boolean) => {
    functions.set(name, text);
    return ownPlace ? `${name}(${places++ * size}u, ` : `${name}(`;
  };

  /** WGSL around `body`, for every vector of a fragment of so many rows and columns: `at` in the array, and where its elements stand. */
  const vectors = (
    array: string,
    major: string,
    [rows, columns]: [number, number],
    start: string,
    ways: typeof loads,
    body: (wgsl: string) => string,
  ) => {
    const [, type, length] = new RegExp(`var<workgroup> ${array}: array<(.*), (\\d+)>;`).exec(source) ?? [];
    if (!ways[type])
      throw new Error(`emulate: ${array} is no array of vectors in workgroup memory that holds such fragments`);
    const [atQuad, wgsl] = ways[type];
    const [lines, quads, place, next] =
      major === "row_major"
        ? [rows, columns / 4, `line * ${columns}u + quad * 4u`, 1]
        : [columns, rows / 4, `quad * ${4 * columns}u + line`, columns];
    return `
      for (var i = ${start}; i < ${lines * quads}u + never(); i += ${start === "0u" ? 1 : lanes}u) {
        let line = i / ${quads}u; let quad = i % ${quads}u;
        let at = offset + line * stride + ${atQuad}; let first = place + ${place};
        let inside = at < ${length}u;
        ${body(wgsl.replaceAll("ARRAY", array)).replace(/NEXT(\d)/g, (_, c) => `fragments[first + ${Number(c) * next}u]`)}
      }`;
  };
  const load = (type: string, major: string, array: string) => `
    fn load_${type}_${major}_${array}(place: u32, offset: u32, stride: u32) -> ${type} {${vectors(
      array,
      major,
      shapes[type],
      "0u",
      loads,
      (four) => `let four = select(bitcast<vec4f>(vec4u(0x7fc00000u + never())), ${four}, inside);
        NEXT0 = four.x; NEXT1 = four.y; NEXT2 = four.z; NEXT3 = four.w;`,
    )}
      return place;
    }`;
  const store = (major: string, array: string) => `
    fn store_${major}_${array}(offset: u32, place: Sum, stride: u32) {${vectors(
      array,
      major,
      shapes.Sum,
      `emulatedLane % ${lanes}u`,
      stores,
      (put) => `let four = vec4f(NEXT0, NEXT1, NEXT2, NEXT3);
        if (inside) { ${put} }`,
    )}
    }`;
  const multiply = `
    fn multiply(left: Left, right: Right, sum: Sum) -> Sum {
      for (var i = 0u; i < ${m * n}u + never(); i++) {
        var total = fragments[sum + i];
        for (var j = 0u; j < ${k}u + never(); j++) {
          total += fragments[left + i / ${n}u * ${k}u + j] * fragments[right + j * ${n}u + i % ${n}u];
        }
        fragments[sum + i] = total;
      }
      return sum;
    }`;
  const begin = `
    fn zeros(place: u32, unused: u32) -> Sum {
      for (var i = 0u; i < ${m * n}u + never(); i++) { fragments[place + i] = 0.0; }
      return place;
    }`;
  const body = source
    .replaceAll(zeros, "Sum()")
    .replace(/alias (\w+) = subgroup_matrix_.*;/g, "alias $1 = u32;")
    .replace(/subgroupMatrixLoad<(\w+), (\w+)>\(&(\w+), /g, (_, type, major, array) =>
      call(`load_${type}_${major}_${array}`, load(type, major, array), true),
    )
    .replace(/subgroupMatrixStore<(\w+)>\(&(\w+), /g, (_, major, array) =>
      call(`store_${major}_${array}`, store(major, array), false),
    )
    .replaceAll("Sum()", () => `${call("zeros", begin, true)}0u)`)
    .replaceAll("subgroupMatrixMultiplyAccumulate(", () => call("multiply", multiply, false));
  const head = `
    var<private> emulatedLane: u32;
    var<private> fragments: array<f32, ${places * size}>;
    // 0 always, which Mesa does not know: it would unroll every loop of a constant count, for minutes.
    fn never() -> u32 { return u.batch >> 31u; }
    ${[...functions.values()].join("")}`;
  return body
    .replace(/(for \(var i = 0u; i < \d+u)(; i\+\+)/g, "$1 + never()$2")
    .replace(/(@compute[^{]*\{)/, `${head}\n    $1 emulatedLane = lane;`);
}
