import { describe, expect, test } from "bun:test";
import { Linear } from "../../framework/nn/index.ts";
import { flatten } from "../../framework/optim/flat.ts";
import { AdamW, clipGradNorm, learningRateAt, SGD } from "../../framework/optim/index.ts";
import { scope } from "../../framework/tensor/scope.ts";
import { Tensor } from "../../framework/tensor/tensor.ts";
import { gpu, input, leftBehind, noise, worst } from "../ops/support.ts";

/** AdamW as its paper writes it, in double precision. */
function adamw(
  p: number[],
  gradients: number[][],
  { lr, b1, b2, eps, wd }: { lr: number; b1: number; b2: number; eps: number; wd: number },
): number[] {
  const [m, v] = [p.map(() => 0), p.map(() => 0)];
  gradients.forEach((g, t) => {
    p.forEach((_, i) => {
      m[i] = b1 * m[i] + (1 - b1) * g[i];
      v[i] = b2 * v[i] + (1 - b2) * g[i] ** 2;
      const [mHat, vHat] = [m[i] / (1 - b1 ** (t + 1)), v[i] / (1 - b2 ** (t + 1))];
      p[i] -= lr * (mHat / (Math.sqrt(vHat) + eps) + wd * p[i]);
    });
  });
  return p;
}

test("AdamW equals float64 over several steps, over odd sizes side by side", async () => {
  const parameters = [input([3, 5], 1), input([1], 2), input([7], 3)];
  const start = await Promise.all(parameters.map(async (p) => Array.from(await p.data())));
  const optimizer = new AdamW(parameters, { learningRate: 0.05, betas: [0.9, 0.99], weightDecay: 0.1 });
  const steps = [0, 1, 2, 3].map((s) => parameters.map((p, i) => Array.from(noise(p.size, 10 * s + i + 1))));
  for (const gradients of steps) {
    parameters.forEach((p, i) => {
      p.grad?.write(gradients[i]);
    });
    optimizer.step();
  }
  for (const [i, p] of parameters.entries()) {
    const expected = adamw(
      start[i],
      steps.map((s) => s[i]),
      { lr: 0.05, b1: 0.9, b2: 0.99, eps: 1e-8, wd: 0.1 },
    );
    expect(worst(await p.data(), expected)).toBeLessThan(1e-5);
  }
  optimizer.dispose();
});

test("SGD with momentum goes PyTorch's way", async () => {
  const p = Tensor.from([1, 2]);
  p.requiresGrad = true;
  const optimizer = new SGD([p], { learningRate: 0.1, momentum: 0.9, weightDecay: 0.5 });
  for (let i = 0; i < 2; i++) {
    p.grad?.write([1, -1]);
    optimizer.step();
  }
  // v1 = g + wd·p, p -= lr·v1; v2 = 0.9·v1 + g + wd·p, p -= lr·v2
  expect(worst(await p.data(), [0.85 - 0.1 * (1.35 + 1.425), 2 - 0.1 * (0.9 * 0 + 0)])).toBeLessThan(1e-6);
});

describe("clipping", () => {
  test("within the step scales to the norm given, and reports the norm before", async () => {
    const p = Tensor.from([0, 0]);
    p.requiresGrad = true;
    const optimizer = new SGD([p], { learningRate: 1 });
    p.grad?.write([3, 4]);
    const loss = Tensor.from([1.5]);
    optimizer.step({ clip: 1, loss });
    expect(worst(await p.data(), [-0.6, -0.8])).toBeLessThan(1e-5);
    expect(await optimizer.report(loss)).toEqual({ loss: 1.5, gradNorm: 5, counted: true });
    expect((await optimizer.report(loss, { accuracy: Tensor.from([0.25]) })).accuracy).toBe(0.25);
  });
  test("clipGradNorm scales gradients in place and returns the norm", async () => {
    const [a, b] = [input([2]), input([3])];
    a.grad = Tensor.from([3, 0]);
    b.grad = Tensor.from([0, 4, 0]);
    expect(await clipGradNorm([a, b], 2.5).item()).toBeCloseTo(5, 5);
    expect(worst(await b.grad.data(), [0, 2, 0])).toBeLessThan(1e-5);
    await clipGradNorm([a, b], 100).item();
    expect(worst(await a.grad.data(), [1.5, 0])).toBeLessThan(1e-5);
  });
});

describe("a step that is not finite", () => {
  test.each([
    ["loss", [Number.NaN], [1, 1]],
    ["gradient", [1], [1, Number.POSITIVE_INFINITY]],
  ])("by its %s changes nothing, and the next one goes on", async (_, loss, gradient) => {
    const p = Tensor.from([1, 2]);
    p.requiresGrad = true;
    const optimizer = new AdamW([p], { learningRate: 0.1, weightDecay: 0 });
    p.grad?.write(gradient);
    optimizer.step({ loss: Tensor.from(loss), clip: 1 });
    expect((await optimizer.report(Tensor.from(loss))).counted).toBe(false);
    expect(await p.tolist()).toEqual([1, 2]);
    p.grad?.write([1, 1]);
    optimizer.step();
    expect(worst(await p.data(), [0.9, 1.9])).toBeLessThan(1e-5); // the first counted step: bias correction starts at 1
  });
});

test("an optimizer's state goes into another, and both go on alike", async () => {
  const build = () => {
    const layer = new Linear(3, 2);
    layer.weight.write(noise(6, 1));
    layer.bias?.write(noise(2, 2));
    return { layer, optimizer: new AdamW(layer.namedParameters(), { learningRate: 0.01 }) };
  };
  const [a, b] = [build(), build()];
  const x = input([4, 3], 5);
  const train = ({ layer, optimizer }: ReturnType<typeof build>) =>
    scope(() => {
      optimizer.zeroGrad();
      layer.forward(x).pow(2).mean().backward();
      optimizer.step({ clip: 1 });
    });
  train(a);
  train(a);
  const state = new Map<string, ArrayLike<number>>();
  for (const [name, t] of a.optimizer.state()) state.set(name, await t.data());
  b.layer.weight.write(await a.layer.weight.data());
  b.layer.bias?.write((await a.layer.bias?.data()) ?? []);
  b.optimizer.loadState(state);
  train(a);
  train(b);
  expect([...(await b.layer.weight.data())]).toEqual([...(await a.layer.weight.data())]);
  state.delete("m.weight");
  expect(() => b.optimizer.loadState(state)).toThrow("optimizer: m.weight is missing, expected 6");
});

test("a steady step creates no buffer and no bind group, and leaves nothing behind", async () => {
  const layer = new Linear(8, 8);
  const optimizer = new AdamW(layer.namedParameters());
  const x = input([4, 8], 5);
  const step = () =>
    scope(() => {
      optimizer.zeroGrad();
      layer.forward(x).pow(2).mean().backward();
      optimizer.step({ clip: 1 });
    });
  for (let i = 0; i < 3; i++) step();
  const before = { created: gpu.pool.stats.created, groups: gpu.stats.bindGroupsCreated };
  expect(
    await leftBehind(() => {
      for (let i = 0; i < 5; i++) step();
    }),
  ).toBe(0);
  expect({ created: gpu.pool.stats.created, groups: gpu.stats.bindGroupsCreated }).toEqual(before);
});

test("parameters move into as few buffers as the limit allows, and keep their values", async () => {
  const named = new Map([3, 100, 64, 300, 1].map((size, i) => [`p${i}`, input([size], i + 1)] as const));
  const before = await Promise.all([...named.values()].map((p) => p.data()));
  const buffers = flatten(named, false, 384);
  expect(buffers.map((b) => b.names)).toEqual([["p0", "p1", "p2"], ["p3"], ["p4"]]);
  for (const [i, p] of [...named.values()].entries()) {
    expect([...(await p.data())]).toEqual([...before[i]]);
    expect(await (p.grad as Tensor).abs().sum().item()).toBe(0);
  }
  const { parameters, values, offsets } = buffers[0];
  expect((await values.data())[offsets[1] + 7]).toBe((await parameters[1].data())[7]);
});

test("dispose frees moments and gradients", async () => {
  const layer = new Linear(8, 8);
  expect(
    await leftBehind(() => {
      const o = new AdamW(layer.namedParameters());
      o.dispose();
      layer.dispose();
    }),
  ).toBe(-2);
});

test("schedules rise, hold and fall as their names say", () => {
  const at = (name: "constant" | "linear" | "cosine" | "wsd", step: number) =>
    learningRateAt(name, step, { learningRate: 1, total: 110, warmup: 10 });
  expect(at("cosine", 0)).toBeCloseTo(0.1);
  expect(at("cosine", 9)).toBeCloseTo(1);
  expect(at("cosine", 60)).toBeCloseTo(0.55);
  expect(at("cosine", 110)).toBeCloseTo(0.1);
  expect(at("linear", 60)).toBeCloseTo(0.5);
  expect(at("constant", 100)).toBe(1);
  expect(at("wsd", 80)).toBe(1);
  expect(at("wsd", 100)).toBeCloseTo(0.5);
});

describe.skipIf(!gpu.target.f16)("in f16", () => {
  const build = () => {
    const p = Tensor.from([1, 2.0001]);
    p.requiresGrad = true;
    return { p, optimizer: new AdamW([p], { learningRate: 0.1, weightDecay: 0, precision: "f16" }) };
  };

  test("parameters keep a copy that follows updates and writes", async () => {
    const { p, optimizer } = build();
    expect(await p.half?.tolist()).toEqual([1, 2]);
    p.grad?.write([65536, -65536]);
    optimizer.step();
    expect(worst(await p.data(), [0.9, 2.1001])).toBeLessThan(1e-5);
    expect(worst((await p.half?.data()) ?? [], [0.9, 2.1001])).toBeLessThan(5e-4);
    p.write([3, 4]);
    expect(await p.half?.tolist()).toEqual([3, 4]);
    optimizer.dispose();
    expect(p.half).toBeUndefined();
  });

  test("norm and clipping are those of the gradient without its scale", async () => {
    const { p, optimizer } = build();
    p.grad?.write([3 * 65536, 4 * 65536]);
    const loss = Tensor.from([1.5]);
    optimizer.step({ clip: 1, loss });
    const expected = { loss: 1.5, gradNorm: 5, counted: true, lossScale: 65536, overflow: false };
    expect(await optimizer.report(loss)).toEqual(expected);
    expect(await optimizer.gradientScale?.item()).toBe(65536);
  });

  test("an overflow changes nothing but the scale, and both go into the state", async () => {
    const { p, optimizer } = build();
    p.grad?.write([Number.POSITIVE_INFINITY, 1]);
    const loss = Tensor.from([1.5]);
    optimizer.step({ loss });
    const report = await optimizer.report(loss);
    expect([report.counted, report.overflow, report.lossScale]).toEqual([false, true, 32768]);
    expect(worst(await p.data(), [1, 2.0001])).toBeLessThan(1e-6);
    expect(await optimizer.state().get("scaler")?.tolist()).toEqual([32768, 0, 1, 1]);
  });
});

test("an optimizer that is disposed leaves what another has taken over", async () => {
  const layer = new Linear(4, 3);
  const [first, second] = [new AdamW(layer.namedParameters()), new AdamW(layer.namedParameters())];
  first.dispose();
  layer
    .forward(input([2, 4]))
    .pow(2)
    .mean()
    .backward();
  second.step();
  expect((await second.report(Tensor.from([1]))).gradNorm).toBeGreaterThan(0);
  second.dispose();
  expect([layer.weight.grad, layer.bias?.grad]).toEqual([undefined, undefined]);
});

test("frozen parameters are not touched", async () => {
  const layer = new Linear(4, 3);
  layer.weight.requiresGrad = false;
  const before = await layer.weight.tolist();
  const optimizer = new AdamW(layer.namedParameters(), { learningRate: 0.1 });
  expect(optimizer.buffers.flatMap(({ names }) => names)).toEqual(["bias"]);
  layer
    .forward(input([2, 4]))
    .sum()
    .backward();
  optimizer.step();
  expect(await layer.weight.tolist()).toEqual(before);
  optimizer.dispose();
});

test("refuses a rate or a limit that is no number, and a precision that is none", () => {
  const optimizer = new AdamW([input([2])]);
  expect(() => optimizer.step({ learningRate: Number.NaN })).toThrow("optimizer: learningRate is NaN");
  expect(() => optimizer.step({ clip: -1 })).toThrow("clip -1, expected a number and 0 or more");
  expect(() => new AdamW([input([2])], { precision: "bf16" as "f16" })).toThrow(
    "optimizer: precision is bf16, expected f32 or f16",
  );
});

describe("gradients that lie elsewhere count as PyTorch's do", () => {
  const parameter = () => {
    const p = Tensor.from([1, 1]);
    p.requiresGrad = true;
    return p;
  };
  const sgd = (...p: Tensor[]) => new SGD(p, { learningRate: 1 });
  const values = async (p: Tensor) => Array.from(await p.data());

  test("those from before the optimizer", async () => {
    const p = parameter();
    p.sum().backward();
    sgd(p).step();
    expect(await values(p)).toEqual([0, 0]);
  });
  test("those made after the old ones were taken away", async () => {
    const p = parameter();
    const optimizer = sgd(p);
    for (let i = 1; i <= 2; i++) {
      p.grad = undefined;
      p.sum().backward();
      optimizer.step();
      expect(await values(p)).toEqual([1 - i, 1 - i]);
    }
  });
  test("those that a script puts there, until zeroGrad", async () => {
    const p = parameter();
    const optimizer = sgd(p);
    p.grad = Tensor.from([5, 7]);
    optimizer.step();
    expect(await values(p)).toEqual([-4, -6]);
    p.grad = Tensor.from([5, 7]);
    optimizer.zeroGrad();
    optimizer.step();
    expect(await values(p)).toEqual([-4, -6]);
    p.grad = Tensor.from([5]);
    expect(() => optimizer.step()).toThrow("optimizer: 0.grad is [1], expected [2]");
  });
  test("what is frozen or has none stays as it is, decay or not, between others that change", async () => {
    const [a, b, c, d] = [parameter(), parameter(), parameter(), parameter()];
    const optimizer = new AdamW([a, b, c, d], { learningRate: 0.1, weightDecay: 0.5 });
    for (const p of [a, b, c, d]) p.sum().backward();
    b.requiresGrad = false;
    c.grad = undefined;
    optimizer.step({ clip: 100 });
    expect(await values(b)).toEqual([1, 1]);
    expect(await values(c)).toEqual([1, 1]);
    for (const p of [a, d]) expect((await values(p))[0]).toBeCloseTo(0.85, 4);
    expect((await optimizer.report(Tensor.from([0]))).gradNorm).toBeCloseTo(2, 5);
  });
  test("one that was freed is an error; what stood in its place does not count again", () => {
    const p = parameter();
    const optimizer = sgd(p);
    p.sum().backward();
    p.grad = Tensor.from([5, 7]);
    p.grad.dispose();
    expect(() => optimizer.step()).toThrow("is used after it was freed");
  });
  test("a parameter that is given twice is trained once", async () => {
    const p = parameter();
    const optimizer = sgd(p, p);
    p.sum().backward();
    optimizer.step();
    expect(await values(p)).toEqual([0, 0]);
    expect(optimizer.buffers[0].names).toEqual(["0"]);
  });
  test("an optimizer whose parameters another took over says so", () => {
    const p = parameter();
    const first = sgd(p);
    sgd(p);
    expect(() => first.step()).toThrow("optimizer: another optimizer has taken 0 over");
  });
});
