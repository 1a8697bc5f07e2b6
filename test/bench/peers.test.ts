import { beforeAll, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { checksum, decodeTask, stepData } from "../../bench/peers/data.ts";
import { refuse } from "../../bench/peers/index.ts";
import { measureAttention, wrongLoss } from "../../bench/peers/measure.ts";
import { ours } from "../../bench/peers/ours.ts";
import reference from "../../bench/peers/reference.json";
import { init } from "../../framework/index.ts";

beforeAll(async () => void (await init()));

for (const size of ["S0", "S1", "S2", "S3"] as const)
  test(`weights and ids of ${size} are those that PyTorch's losses were made of`, () =>
    expect(checksum(stepData(size))).toBe(reference[size].checksum));

test("the engine's own losses at S0 are PyTorch's", async () => {
  const step = ours().trainer(stepData("S0"));
  const losses: number[] = [];
  for (let n = 1; n <= 4; n++) losses.push(await step(n));
  losses.forEach((loss, i) => {
    expect(loss).toBeCloseTo(reference.S0.losses[i], 4);
  });
});

test("a peer whose loss is another is not timed, and it is said why", async () => {
  const { losses } = reference.S1;
  expect(wrongLoss(losses, "S1")).toBeUndefined();
  expect(wrongLoss([losses[0] + 0.002, ...losses.slice(1)], "S1")).toContain("loss 0 is 8.79");
  expect(wrongLoss([...losses.slice(0, 3), Number.NaN], "S1")).toContain("loss 3 is NaN, PyTorch's 8.26");
});

test("a peer whose attention is another is not timed, and it is said why", async () => {
  const other = { value: reference.attention.value, gradients: [0, 1, 2].map(() => new Float32Array(8)) };
  const peer = { trainer: () => async () => 0, attention: () => async () => other, decoder: () => async () => [] };
  const { disagrees, times } = await measureAttention(peer, 10);
  expect(disagrees).toContain("the norm of dq is 0, PyTorch's 10.8");
  expect(times).toEqual([]);
});

const installed = existsSync(new URL("../../bench/peers/node_modules/onnxruntime-web", import.meta.url));
test.skipIf(!installed)("the ONNX model of the decoder runs in onnxruntime-web and says PyTorch's tokens", async () => {
  const { ort } = await import("../../bench/peers/ort.ts");
  const peer = await ort("wasm");
  const decode = peer.decoder(stepData(decodeTask.size), 2);
  expect(await decode(decodeTask.first, 8)).toEqual(reference.decode.tokens.slice(0, 8).map((id) => [id, id]));
  expect(() => peer.trainer(stepData("S0"))).toThrow("for generation only");
});

test("names that are not known are refused with those that are", () => {
  const options = { peers: ["ours"], sizes: [], budget: 1 };
  expect(refuse(options)).toBeUndefined();
  expect(refuse({ ...options, peers: ["jax"] })).toBe(
    'bench --peers: "jax" is none of ours, ours-f16, jax-webgpu, jax-wasm, tfjs-webgpu, tfjs-wasm, ort-webgpu, ort-wasm',
  );
  expect(refuse({ ...options, sizes: ["S9"] })).toBe(
    'bench --sizes: "S9" is none of S0, S1, S2, S3, attention, decode, decode8',
  );
});
