import { expect, test } from "bun:test";
import { curveSvg } from "../../framework/run/curve.ts";

const falling = Array.from({ length: 5000 }, (_, index) => ({ step: index + 1, value: 2 + 5 / (1 + index / 300) }));

test("the picture has both curves, their axes with ticks, names, and last values", () => {
  const svg = curveSvg("out/pretrain", falling, [
    { step: 0, value: 7 },
    { step: 5000, value: 2.3 },
  ]);
  expect(svg).toStartWith("<svg ");
  expect(svg).toEndWith("</svg>\n");
  for (const text of [
    "out/pretrain",
    ">step<",
    "loss (nats per token)",
    "validation loss 2.3000 at step 5000",
    ">5000<",
    ">7<",
  ])
    expect(svg).toContain(text);
  expect(svg.match(/class="curve loss"/g)).toHaveLength(2);
  expect(svg.match(/<circle class="val"/g)).toHaveLength(2);
  expect(svg).toContain("prefers-color-scheme: dark");
});

test("thousands of steps are averaged to what the picture can show, inside its frame", () => {
  const svg = curveSvg("run", falling, []);
  const path = /class="curve loss" d="M([^"]+)"/.exec(svg)![1]!;
  const places = path.split("L").map((place) => place.split(" ").map(Number));
  expect(places.length).toBeLessThan(700);
  for (const [x, y] of places) {
    expect(x).toBeWithin(64, 837);
    expect(y).toBeWithin(44, 413);
  }
  expect(places[0]![1]!).toBeLessThan(places.at(-1)![1]!);
});

test("no points, one point, equal points and broken ones draw without a NaN", () => {
  const one = [{ step: 1, value: 3 }];
  for (const points of [[], one, [...one, { step: 2, value: 3 }], [...one, { step: 2, value: Number.NaN }]])
    expect(curveSvg("a <b>", points, [])).not.toMatch(/NaN|Infinity|<b>/);
});
