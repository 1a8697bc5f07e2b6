import { describe, expect, test } from "bun:test";
import { checkpoint } from "../../framework/autograd/checkpoint.ts";
import { gradcheck } from "../../framework/autograd/gradcheck.ts";
import { isRecording, noGrad } from "../../framework/autograd/graph.ts";
import { op } from "../../framework/autograd/op.ts";
import { dropout } from "../../framework/ops/activation.ts";
import { SGD } from "../../framework/optim/index.ts";
import { scope } from "../../framework/tensor/scope.ts";
import { Tensor } from "../../framework/tensor/tensor.ts";
import { gpu, input, leftBehind, worst } from "../ops/support.ts";

describe("backward", () => {
  test("adds up over paths and over calls", async () => {
    const x = Tensor.from([2, 3]);
    x.requiresGrad = true;
    x.mul(x).add(x).sum().backward();
    expect(await x.grad?.tolist()).toEqual([5, 7]);
    x.mul(10).sum().backward();
    expect(await x.grad?.tolist()).toEqual([15, 17]);
  });
  test("leaves of one sum get gradients of their own", async () => {
    const [a, b] = [input([3], 1), input([3], 2)];
    a.add(b).sum().backward();
    a.mul(2).sum().backward();
    expect(await a.grad?.tolist()).toEqual([3, 3, 3]);
    expect(await b.grad?.tolist()).toEqual([1, 1, 1]);
  });
  test("consumes the graph, unless told to keep it", () => {
    const x = input([2]);
    const y = x.mul(x).sum();
    y.backward({ retainGraph: true });
    y.backward();
    expect(() => y.backward()).toThrow("was consumed by an earlier backward; use {retainGraph: true} there");
  });
  test("wants one element, or a gradient of the right shape", () => {
    const y = input([2]).mul(2);
    expect(() => y.backward()).toThrow("has 2 elements; give {gradient} of its shape");
    expect(() => y.backward({ gradient: Tensor.from([1, 2, 3]) })).toThrow("backward: gradient is [3], expected [2]");
    expect(() => Tensor.from([1]).backward()).toThrow("does not depend on a tensor with requiresGrad");
  });
  test("does not pass detach or noGrad", async () => {
    const x = input([1]);
    expect(x.mul(2).detach().node).toBeUndefined();
    expect(noGrad(() => x.mul(2)).node).toBeUndefined();
    expect(noGrad(() => isRecording())).toBe(false);
    expect(isRecording()).toBe(true);
  });
  test("noGrad hands on what its function returns, promises too, and ends with an error", async () => {
    expect(noGrad(() => 5)).toBe(5);
    expect(await noGrad(async () => isRecording())).toBe(false);
    expect(() =>
      noGrad(() => {
        throw new Error("mine");
      }),
    ).toThrow("mine");
    expect(isRecording()).toBe(true);
  });
});

describe("scope", () => {
  test("frees what it made, except what it returns", async () => {
    const left = await leftBehind(() => {
      const kept = scope(() => {
        const a = input([100], 1);
        return { deep: [a.mul(2).add(1)] };
      });
      expect(kept.deep[0].disposed).toBe(false);
      kept.deep[0].dispose();
    });
    expect(left).toBe(0);
  });
  test("frees after an error too", async () => {
    const left = await leftBehind(() => {
      expect(() =>
        scope(() => {
          input([3]).mul(2);
          throw new Error("mine");
        }),
      ).toThrow("mine");
    });
    expect(left).toBe(0);
  });
  test("leaves the graph what it needs", async () => {
    const x = input([4], 1);
    const y = scope(() => x.exp().mul(x).sin().sum());
    y.backward();
    const xs = await x.data();
    expect(
      worst(
        (await x.grad?.data()) ?? [],
        Array.from(xs, (v) => Math.cos(Math.exp(v) * v) * Math.exp(v) * (1 + v)),
      ),
    ).toBeLessThan(1e-5);
  });
  test("a graph that is dropped without backward is freed", async () => {
    const x = input([4], 1);
    expect(
      await leftBehind(() =>
        scope(() => {
          x.exp().mul(x).sum();
        }),
      ),
    ).toBe(0);
  });
  test("a step with backward leaves the gradient alone", async () => {
    const x = input([4], 1);
    expect(
      await leftBehind(() =>
        scope(() => {
          x.exp().mul(x).softmax().sum().backward();
        }),
      ),
    ).toBe(1);
    expect(x.grad?.disposed).toBe(false);
  });
  test("async work is awaited before it is freed", async () => {
    const left = await leftBehind(async () => {
      const n = await scope(async () => await input([3]).mul(0).sum().item());
      expect(n).toBe(0);
    });
    expect(left).toBe(0);
  });
  test("a freed tensor says where it was freed", () => {
    const x = input([2]);
    x.dispose();
    x.dispose();
    expect(() => x.add(1)).toThrow(/tensor \[2\] is used after it was freed, here:[\s\S]*autograd\.test\.ts/);
  });
  test("`using` frees at the end of its block", () => {
    let outer: Tensor;
    {
      using x = Tensor.from([1]);
      outer = x;
    }
    expect(outer.disposed).toBe(true);
  });
});

describe("checkpoint", () => {
  test("gives the same gradients, for inputs and for parameters inside", async () => {
    const [x, w] = [input([3, 4], 1), input([4, 4], 2)];
    const layer = (h: Tensor) => h.matmul(w).tanh().matmul(w);
    layer(x).sum().backward();
    const [dx, dw] = [await x.grad?.data(), await w.grad?.data()];
    x.grad = w.grad = undefined;
    checkpoint(layer, x).sum().backward();
    const [gx, gw] = [x.grad as unknown as Tensor, w.grad as unknown as Tensor];
    expect([...(await gx.data())]).toEqual([...(dx ?? [])]);
    expect([...(await gw.data())]).toEqual([...(dw ?? [])]);
  });
  test("keeps less alive between the passes", async () => {
    const x = input([1000], 1);
    const chain = (h: Tensor) => Array.from({ length: 8 }).reduce<Tensor>((y) => y.tanh().mul(y), h);
    let [plain, saved] = [0, 0];
    const y1 = scope(() => chain(x));
    plain = gpu.pool.stats.liveBytes;
    y1.dispose();
    const y2 = scope(() => checkpoint(chain, x));
    saved = gpu.pool.stats.liveBytes;
    y2.dispose();
    expect(saved).toBeLessThan(plain - 10 * 4000);
  });
  test("draws the same random numbers again", async () => {
    const x = input([64], 1, { shift: 2 });
    const y = checkpoint((h) => dropout(h, 0.5), x);
    const kept = Array.from(await y.data(), (v) => Number(v !== 0) * 2);
    y.sum().backward();
    expect(await x.grad?.tolist()).toEqual(kept);
  });
});

describe("gradcheck", () => {
  test("finds a wrong gradient and names the element", async () => {
    const wrong = op("wrong", { value: (x: Tensor) => ({ y: x.mul(3), saved: {} }), gradient: (dy) => [dy.mul(2)] });
    expect(gradcheck(wrong, [input([2])])).rejects.toThrow("gradcheck: input 0 [2], element 0: the gradient is");
  });
  test("an op without a second derivative says so", () => {
    const once = op("once", { value: (x: Tensor) => ({ y: x.mul(3), saved: {} }), gradient: (dy) => [dy.mul(3)] });
    expect(() => once(input([1])).backward({ createGraph: true })).toThrow("once has no second derivative");
  });
});

test("what was saved and then changed is refused, by write as by an optimizer", async () => {
  const p = input([2], 1);
  const x = Tensor.from([1, 2]);
  const y = p.mul(x).sum();
  x.write([100, 200]);
  expect(() => y.backward()).toThrow(/backward: tensor \[2\] f32, which the gradient of mul needs, was changed since/);
  const optimizer = new SGD([p], { learningRate: 1 });
  const [first, second, third] = [p.pow(2).sum(), p.pow(4).sum(), p.add(3).sum()];
  first.backward();
  optimizer.step();
  expect(() => second.backward()).toThrow(/which the gradient of pow needs, was changed since/);
  third.backward(); // needs no value of p
  x.write([1, 2]); // nobody waits for it any more
  p.mul(x).sum().backward();
  optimizer.dispose();
});
