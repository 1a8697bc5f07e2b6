import { expect, test } from "bun:test";
import { random } from "../../kernels/random.ts";
import { runKernel } from "./launch.ts";

const draw = async (n: number, seedLow: number, drawLow: number, distribution: "uniform" | "normal" = "uniform") => {
  const uniforms = { n, seedLow, seedHigh: 0, drawLow, drawHigh: 0 };
  return (await runKernel(random, { y: new Float32Array(n + 1).fill(5) }, ["y"], { distribution }, uniforms)).y;
};

/** Philox4x32-10 in BigInt, as its paper writes it. */
function philox(counter: bigint[], key: bigint[]): bigint[] {
  const mask = 0xffffffffn;
  let [c, k] = [counter, key];
  for (let round = 0; round < 10; round++) {
    const [p, q] = [0xd2511f53n * c[0], 0xcd9e8d57n * c[2]];
    c = [(q >> 32n) ^ c[1] ^ k[0], q & mask, (p >> 32n) ^ c[3] ^ k[1], p & mask];
    k = [(k[0] + 0x9e3779b9n) & mask, (k[1] + 0xbb67ae85n) & mask];
  }
  return c;
}

test("equals Philox4x32-10, whatever the count, and writes no more than asked", async () => {
  const y = await draw(11, 123456789, 42);
  const expected = [0, 1, 2]
    .flatMap((i) => philox([BigInt(i), 0n, 42n, 0n], [123456789n, 0n]))
    .map((bits) => Number(bits >> 8n) / 2 ** 24);
  expect([...y]).toEqual([...expected.slice(0, 11), 5]);
});

test("other seeds and other draws give other numbers", async () => {
  const a = await draw(8, 1, 1);
  expect([...(await draw(8, 2, 1))]).not.toEqual([...a]);
  expect([...(await draw(8, 1, 2))]).not.toEqual([...a]);
});

test("normal numbers are finite and symmetric enough", async () => {
  const y = (await draw(40_000, 3, 1, "normal")).slice(0, 40_000);
  expect(y.every(Number.isFinite)).toBe(true);
  expect(Math.abs(y.reduce((a, b) => a + b) / y.length)).toBeLessThan(0.02);
});
