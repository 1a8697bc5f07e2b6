import { expect, setDefaultTimeout, test } from "bun:test";
import type { Kernel, Target } from "../../framework/device/kernel.ts";
import { type MatmulCall, type MatmulShape, type MatmulTuning, matmul, matmulLaunch } from "../../kernels/matmul.ts";
import { NO_GROUP } from "../../kernels/shared/matmulParts.ts";
import { emulated } from "./emulatedMatrix.ts";
import { noise, runKernel, testGpu, worst } from "./launch.ts";

setDefaultTimeout(60_000);

const { target } = await testGpu();
const portable: Target = { ...target, class: "portable", sharedBytes: 32768 };
const MARK = 12345;
const tiles = Uint32Array.of(2, 0, NO_GROUP, 2, 1);
/** Segments of 8, none, 12 and 4 rows. */
const segments = Uint32Array.of(4, 12, 12, 24, 28);

/** Tiles of x [m, k] by matrices that lie `m · k + 8` apart against float64, but for the tile without a matrix. */
async function tileError(layout: "NT" | "NN", m: number, n: number, k: number, how: How = {}) {
  const strideB = n * k + 8;
  const call = { layout, m, n, k, batch: tiles.length, strideA: m * k, strideB, grouped: "tiles" } as const;
  const [a, b] = [noise(tiles.length * m * k, 1), noise(3 * strideB, 2)];
  const expected = Float64Array.from({ length: tiles.length * m * n }, (_, at) => {
    const [tile, row, column] = [Math.floor(at / (m * n)), Math.floor(at / n) % m, at % n];
    if (tiles[tile] === NO_GROUP) return Number.NaN;
    let sum = 0;
    for (let i = 0; i < k; i++) {
      const right = tiles[tile] * strideB + (layout === "NT" ? column * k + i : i * n + column);
      sum += rounded(a[(tile * m + row) * k + i], how) * rounded(b[right], how);
    }
    return sum;
  });
  return errorOf(call, { a, b, matrices: tiles }, expected, how);
}

/** Products of segments, added to matrices that lie `m · n + 4` apart: what lies between stays. */
async function segmentError(m: number, n: number, how: How = {}) {
  const strideC = m * n + 4;
  const [a, b] = [noise(32 * m, 1), noise(32 * n, 2)];
  const call = { layout: "TN", m, n, k: 8, batch: 4, strideA: 0, strideB: 0, strideC, grouped: "segments" } as const;
  const expected = Float64Array.from({ length: 4 * strideC }, (_, at) => {
    const [matrix, row, column] = [Math.floor(at / strideC), Math.floor((at % strideC) / n), (at % strideC) % n];
    let sum = MARK;
    if (row < m)
      for (let i = segments[matrix]; i < segments[matrix + 1]; i++)
        sum += rounded(a[i * m + row], how) * rounded(b[i * n + column], how);
    return sum;
  });
  return errorOf({ ...call, accumulate: true }, { a, b, matrices: segments }, expected, how);
}

interface How {
  kernel?: Kernel<MatmulShape, MatmulTuning>;
  half?: boolean;
  tuning?: Partial<MatmulTuning>;
  /** Takes what this target's `pick` gives, with `tuning` over it. */
  target?: Target;
}

const rounded = (v: number, { half }: How) => (half ? Math.f16round(v) : v);

async function errorOf(
  call: Omit<MatmulCall, "a" | "b" | "c">,
  { a, b, matrices }: { a: Float32Array; b: Float32Array; matrices: Uint32Array },
  expected: Float64Array,
  { kernel = matmul, half = false, tuning, target: from }: How,
) {
  const type = half ? "f16" : "f32";
  const { shape, uniforms } = matmulLaunch({ ...call, a: type, b: type, c: "f32" });
  const upload = (data: Float32Array) => (half ? new Uint16Array(Float16Array.from(data).buffer) : data);
  const arrays = { a: upload(a), b: upload(b), matrices, c: new Float32Array(expected.length).fill(MARK) };
  const chosen = from || tuning ? ({ ...matmul.pick!(shape, from ?? target), ...tuning } as MatmulTuning) : undefined;
  const { c } = await runKernel(kernel, arrays, ["c"], shape, uniforms, chosen);
  return worst(
    c.filter((_, i) => !Number.isNaN(expected[i])),
    expected.filter((v) => !Number.isNaN(v)),
  );
}

test.each([
  [32, 68, 24],
  [8, 36, 20],
  [1, 40, 64],
  [4, 35, 9],
])("tiles of %p rows times %p columns along %p equal float64", async (m, n, k) => {
  expect(await tileError("NT", m, n, k)).toBeLessThan(1e-5);
  expect(await tileError("NN", m, n, k)).toBeLessThan(1e-5);
});

test.each([
  [36, 68],
  [35, 9],
])("segments' products %p × %p are added in their places", async (m, n) => {
  expect(await segmentError(m, n)).toBeLessThan(1e-5);
});

test("as a portable GPU runs them they are the same, also where k is split", async () => {
  const on = { target: portable };
  const tile = { variant: 1, tileRows: 32, tileColumns: 32, rows: 4, columns: 4, step: 8, ahead: 0, split: 2 };
  expect(await tileError("NT", 32, 68, 24, { ...on, tuning: tile })).toBeLessThan(1e-5);
  expect(await tileError("NN", 32, 68, 24, { ...on, tuning: { ...tile, split: 1, ahead: 1 } })).toBeLessThan(1e-5);
  expect(await tileError("NT", 1, 40, 64, on)).toBeLessThan(1e-5);
  expect(await segmentError(36, 68, { ...on, tuning: tile })).toBeLessThan(1e-5);
});

test.skipIf(!target.f16)("segments go through fragments too", async () => {
  const unit = { variant: 3, tileRows: 32, tileColumns: 32, lanes: 32, step: 16, split: 1, unit: 8080808 };
  const how = { kernel: emulated(matmul), half: true, tuning: unit };
  expect(await segmentError(36, 68, how)).toBeLessThan(1e-5);
});

test("a large tile is not picked for few rows", () => {
  const call = { layout: "NT", m: 32, n: 4096, k: 4096, batch: 512, strideA: 1, strideB: 1 } as const;
  const { shape } = matmulLaunch({ ...call, a: "f32", b: "f32", c: "f32", grouped: "tiles" });
  expect(matmul.pick!(shape, portable, { m: 32, n: 4096, k: 4096, batch: 512 }).tileRows).toBe(32);
});
