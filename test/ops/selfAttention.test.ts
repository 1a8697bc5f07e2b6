import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { gradcheck } from "../../framework/autograd/gradcheck.ts";
import { documentSpans, scaledDotProductAttention } from "../../framework/ops/attention.ts";
import { zeros } from "../../framework/ops/create.ts";
import { rmsNorm } from "../../framework/ops/norm.ts";
import { rope } from "../../framework/ops/rope.ts";
import { selfAttention } from "../../framework/ops/selfAttention.ts";
import { Tensor } from "../../framework/tensor/tensor.ts";
import { gpu, input, worst } from "./support.ts";

setDefaultTimeout(60_000); // on a fresh machine a pipeline takes seconds to compile

const [heads, kvHeads, D] = [4, 2, 16];
const [B, T] = [2, 6];

function tensors() {
  const table = input([12, D / 2, 2], 4).detach();
  return {
    qkv: input([B, T, (heads + 2 * kvHeads) * D], 1),
    qNorm: input([D], 2, { shift: 1 }),
    kNorm: input([D], 3, { shift: 1 }),
    table,
  };
}

type Inputs = ReturnType<typeof tensors> & { positions?: Tensor; segments?: Tensor };

/** The same in ops. */
function stepwise({ qkv, qNorm, kNorm, table, positions, segments }: Inputs): Tensor {
  const [q, k, v] = qkv
    .split([heads * D, kvHeads * D, kvHeads * D], -1)
    .map((h, i) => h.reshape(B, T, i ? kvHeads : heads, D));
  const [a, b] = [rope(rmsNorm(q, qNorm), table, { positions }), rope(rmsNorm(k, kNorm), table, { positions })];
  return scaledDotProductAttention(a, b, v, { causal: true, layout: "BTHD", segments }).reshape(B, T, heads * D);
}

describe("selfAttention", () => {
  test("equals norm, rotation and attention one by one, gradients too", async () => {
    const segments = Tensor.from(Int32Array.of(0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 1, 1), { shape: [B, T] });
    const positions = Tensor.from(Int32Array.of(0, 1, 2, 0, 1, 2, 0, 1, 2, 3, 0, 1), { shape: [B, T] });
    for (const packed of [{}, { segments, positions }] as { segments?: Tensor; positions?: Tensor }[]) {
      const [own, other] = [tensors(), tensors()];
      const { segments: s, positions: p } = packed;
      const options = { heads, kvHeads, causal: true, positions: p, spans: s && documentSpans(s) };
      const y = selfAttention(own.qkv, { ...own, ...options });
      const expected = stepwise({ ...other, ...packed });
      expect(worst(await y.data(), await expected.data())).toBeLessThan(1e-5);
      const weight = input(y.shape, 9).detach();
      y.mul(weight).sum().backward();
      expected.mul(weight).sum().backward();
      for (const name of ["qkv", "qNorm", "kNorm"] as const)
        expect(worst(await (own[name].grad as Tensor).data(), await (other[name].grad as Tensor).data())).toBeLessThan(
          1e-4,
        );
    }
  });

  test("passes gradcheck, with norms and without", async () => {
    const { qkv, qNorm, kNorm, table } = tensors();
    const small = input([1, 3, 4 * 8], 1);
    const turn = table.slice(1, 0, 4);
    await gradcheck((x) => selfAttention(x, { heads: 2, kvHeads: 1, table: turn, causal: true }), [small]);
    await gradcheck((a, b) => selfAttention(qkv, { heads, kvHeads, qNorm: a, kNorm: b, table }), [qNorm, kNorm], {
      tolerance: 2e-2,
    });
  });

  test.skipIf(!gpu.target.f16)("takes f16", async () => {
    const own = tensors();
    const exact = await selfAttention(own.qkv, { ...own, heads, kvHeads, causal: true }).data();
    const y = selfAttention(own.qkv.cast("f16"), { ...own, heads, kvHeads, causal: true });
    expect(y.dtype).toBe("f16");
    expect(worst(await y.data(), exact)).toBeLessThan(5e-3);
    y.sum().backward();
    expect(own.qkv.grad?.dtype).toBe("f32");
  });

  test("names what does not fit", () => {
    const options = { heads: 2, kvHeads: 1 };
    expect(() => selfAttention(zeros([1, 3, 4 * 12]), options)).toThrow(
      "selfAttention: qkv is [1, 3, 48], expected [B, T, (2 + 2 · 1) · D], D a multiple of 8",
    );
    const norms = { qNorm: zeros([8]), kNorm: zeros([4]) };
    expect(() => selfAttention(zeros([1, 3, 32]), { ...options, ...norms })).toThrow(
      "selfAttention: kNorm is [4], expected [8]",
    );
    expect(() => selfAttention(zeros([1, 3, 32]), { ...options, table: zeros([2, 4, 2]) })).toThrow(
      "selfAttention: position 2 is past the table's 2",
    );
  });
});
