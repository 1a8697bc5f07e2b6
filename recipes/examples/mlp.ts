/** Fits a small network to a sine: the whole of training in thirty lines.   bun recipes/examples/mlp.ts */
import { init, manualSeed, nn, noGrad, optim, scope, shutdown, tensor } from "../../framework/index.ts";

await init({ verbose: true });
manualSeed(1);
const xs = Array.from({ length: 128 }, (_, i) => [(i / 64 - 1) * Math.PI]);
const x = tensor(xs); // [128, 1]
const y = tensor(xs.map(([v]) => [Math.sin(v)]));

const model = new nn.Sequential(new nn.Linear(1, 64), (h) => h.tanh(), new nn.Linear(64, 1));
const optimizer = new optim.AdamW(model.namedParameters(), { learningRate: 0.01, weightDecay: 0 });

for (let step = 0; step <= 600; step++) {
  const loss = scope(() => {
    optimizer.zeroGrad();
    const loss = model.forward(x).sub(y).pow(2).mean();
    loss.backward();
    optimizer.step({ loss });
    return loss;
  });
  if (step % 100 === 0) console.log(`step ${step}: loss ${(await loss.item()).toFixed(6)}`);
  loss.dispose();
}
const guess = await noGrad(() => model.forward(tensor([[1]]))).item();
console.log(`sin(1) is ${Math.sin(1).toFixed(4)}, the network says ${guess.toFixed(4)}`);
shutdown();
