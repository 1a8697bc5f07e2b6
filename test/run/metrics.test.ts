import { afterAll, expect, test } from "bun:test";
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MetricsLog, readMetrics } from "../../framework/run/metrics.ts";

const folder = mkdtempSync(join(tmpdir(), "metrics-"));
afterAll(() => rmSync(folder, { recursive: true }));
let number = 0;
const fresh = () => join(folder, `${number++}.jsonl`);

test("a step's figures make one line, written when the next step comes", () => {
  const file = fresh();
  const log = new MetricsLog(file);
  log.add({ step: 1, loss: 3 });
  log.add({ step: 1, valLoss: 4, bitsPerByte: 2 });
  expect(readFileSync(file, "utf8")).toBe("");
  log.add({ step: 2, loss: 2.5 });
  expect(readFileSync(file, "utf8")).toBe('{"step":1,"loss":3,"valLoss":4,"bitsPerByte":2}\n');
  log.flush();
  log.flush();
  expect(readMetrics(file)).toHaveLength(2);
  expect([log.loss, log.valLoss]).toEqual([
    [
      { step: 1, value: 3 },
      { step: 2, value: 2.5 },
    ],
    [{ step: 1, value: 4 }],
  ]);
});

test("every line has a loss: before the first step that of the evaluation, of a broken step null", () => {
  const file = fresh();
  const log = new MetricsLog(file);
  log.add({ step: 0, valLoss: 7 });
  log.add({ step: 1, loss: Number.NaN, gradNorm: Infinity, skipped: true });
  log.flush();
  expect(readFileSync(file, "utf8")).toBe(
    '{"step":0,"valLoss":7,"loss":7}\n{"step":1,"loss":null,"gradNorm":null,"skipped":true}\n',
  );
});

test("a step that was written cannot be written again", () => {
  const log = new MetricsLog(fresh());
  log.add({ step: 2, loss: 1 });
  expect(() => log.add({ step: 1, loss: 1 })).toThrow("run.log: step 1 comes after step 2");
  log.flush();
  expect(() => log.add({ step: 2, loss: 1 })).toThrow("run.log: step 2 comes after step 2");
});

test("going on cuts off later steps and a line that was half written, so that no step stands twice", () => {
  const file = fresh();
  writeFileSync(file, [1, 2, 3, 4].map((step) => `{"step":${step},"loss":${step}}\n`).join(""));
  appendFileSync(file, '{"step":5,"lo');
  const log = new MetricsLog(file, 2);
  expect(readFileSync(file, "utf8")).toBe('{"step":1,"loss":1}\n{"step":2,"loss":2}\n');
  expect(log.loss).toHaveLength(2);
  log.add({ step: 3, loss: 9 });
  log.flush();
  expect(readMetrics(file).map(({ step, loss }) => [step, loss])).toEqual([
    [1, 1],
    [2, 2],
    [3, 9],
  ]);
});

test("a broken line in the middle costs only itself, and skipped steps are counted", () => {
  const file = fresh();
  writeFileSync(file, '{"step":1,"loss":1}\n\u0000\u0000{"st\n{"step":3,"loss":null,"skipped":true}\nnull\n');
  const log = new MetricsLog(file, 3);
  expect(readMetrics(file).map(({ step }) => step)).toEqual([1, 3]);
  expect(log.skipped).toBe(1);
  expect(log.lastStep).toBe(3);
});

test("lines that could not be written come with the next that can", () => {
  const file = fresh();
  const log = new MetricsLog(file);
  log.add({ step: 1, loss: 1 });
  rmSync(file);
  expect(() => log.add({ step: 2, loss: 2 })).toThrow("ENOENT");
  writeFileSync(file, '{"step":1,"lo');
  log.add({ step: 3, loss: 3 });
  log.flush();
  expect(readMetrics(file).map(({ step }) => step)).toEqual([1, 2, 3]);
});
