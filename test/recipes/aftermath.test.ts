import { expect, test } from "bun:test";
import { type optim, Tensor } from "../../framework/index.ts";
import type { Run } from "../../framework/run/index.ts";
import { Aftermath } from "../../recipes/shared/stage.ts";
import "../ops/support.ts";

test("a step's figures are read while the next one runs, and tell the run that the device has finished it", async () => {
  const events: string[] = [];
  const run = {
    due: () => false,
    computed: (step: number) => events.push(`computed ${step}`),
    log: ({ step }: { step: number }) => events.push(`logged ${step}`),
  } as unknown as Run;
  const optimizer = { report: async () => ({ loss: 1, gradNorm: 1, counted: true }) } as unknown as optim.Optimizer;
  const aftermath = new Aftermath(run, { optimizer, tokensPerStep: 1, save: async () => {} });
  for (const step of [1, 2]) {
    await aftermath.after(step, { loss: Tensor.from([1]) }, 1e-3);
    events.push(`launched ${step + 1}`);
  }
  await aftermath.end();
  const at = (event: string) => events.indexOf(event);
  for (const step of [1, 2]) {
    expect(at(`computed ${step}`)).toBeWithin(0, at(`logged ${step}`));
    expect(at(`logged ${step}`)).toBeGreaterThan(at(`launched ${step + 1}`));
  }
});
