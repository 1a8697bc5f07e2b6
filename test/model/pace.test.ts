import { describe, expect, test } from "bun:test";
import type { CausalLM } from "../../framework/model/causalLM.ts";
import { Pace, paceOf } from "../../framework/model/pace.ts";

const AHEAD = 16;

/** A device that works blocks off one after the other: what share of `tokens` each way got, and the time taken. */
function run(pace: Pace, clock: { now: number }, cost: (way: number) => number, tokens: number, compiling = 0) {
  const known = new Set<number>();
  const shares: number[] = Array.from({ length: pace.ways }, () => 0);
  const begun = clock.now;
  let end = begun;
  const work: { block: ReturnType<Pace["begin"]>; end: number }[] = [];
  const wait = () => {
    const { block, end } = work.shift() as (typeof work)[number];
    clock.now = Math.max(clock.now, end);
    pace.finish(block);
  };
  pace.finish(); // the prompt
  for (let size = 1, left = tokens; left > 0; size = Math.min(2 * size, AHEAD)) {
    const block = pace.begin(Math.min(size, left), (way) => known.has(way));
    end = Math.max(end, clock.now) + block.tokens * cost(block.way) + (known.has(block.way) ? 0 : compiling);
    known.add(block.way);
    work.push({ block, end });
    shares[block.way] += block.tokens / tokens;
    left -= block.tokens;
    if (work.length > 1) wait();
  }
  while (work.length) wait();
  return { shares, ms: clock.now - begun };
}

describe("of several ways", () => {
  const clock = { now: 1000 };
  const pace = new Pace(3, () => clock.now);

  test("each is tried, and the fastest goes on", () => {
    const { shares, ms } = run(pace, clock, (way) => [3, 1, 2][way], 500, 100);
    expect(shares[1]).toBeGreaterThan(0.85);
    expect(Math.min(...shares)).toBeGreaterThan(0);
    expect(ms).toBeLessThan(500 * 1.15 + 3 * 100);
  });

  test("a generation's first tokens go the way that was the fastest in the one before", () => {
    const first = pace.begin(1, () => false);
    expect([first.way, first.tokens]).toEqual([1, 1]);
    pace.finish(first);
  });

  test("another becomes the fastest: it is gone over to, within a share of the time", () => {
    const { shares } = run(pace, clock, (way) => [3, 30, 2][way], 4000);
    expect(shares[2]).toBeGreaterThan(0.85);
    const back = run(pace, clock, (way) => [3, 1, 2][way], 20_000);
    expect(back.shares[1]).toBeGreaterThan(0.85);
  });

  test("one that is far slower costs a small share of the time", () => {
    const { ms } = run(pace, clock, (way) => [100, 1, 200][way], 100_000);
    expect(ms).toBeLessThan(100_000 * 1.04);
  });

  test("tokens that are read one by one are counted too", () => {
    const single = new Pace(2, () => clock.now);
    let fast = 0;
    for (let i = 0; i < 200; i++) {
      const block = single.begin(1, () => true);
      clock.now += [5, 1][block.way];
      single.finish(block);
      if (block.way === 1) fast++;
    }
    expect(fast).toBeGreaterThan(100);
  });

  test("time before a block is launched is not its own", () => {
    const idle = new Pace(2, () => clock.now);
    const ways: number[] = [];
    for (let i = 0; i < 20; i++) {
      if (i !== 1) clock.now += 1000;
      const block = idle.begin(1, () => true);
      clock.now += [1, 2][block.way];
      idle.finish(block);
      ways.push(block.way);
    }
    expect(ways).toEqual([0, 1, ...new Array(18).fill(0)]);
  });

  test("a block that failed to start does not keep its way from being tried", () => {
    const lost = new Pace(2, () => clock.now);
    for (const way of [0, 1]) expect(lost.begin(1, () => true).way).toBe(way); // and no more of them
    let block = lost.begin(1, () => true);
    for (let i = 0; i < 20; i++) {
      const next = lost.begin(1, () => true);
      clock.now += [2, 1][block.way];
      lost.finish(block);
      block = next;
    }
    expect(block.way).toBe(1);
  });

  test("a block beside which launches were found out does not count", () => {
    const own = new Pace(2, () => clock.now);
    const a = own.begin(1, () => true);
    expect(a.counts).toBe(true);
    own.begin(1, () => false);
    expect(a.counts).toBe(false);
  });
});

test("what a model's generation saw serves the next of the same ways, not of as many others", () => {
  const model = {} as CausalLM;
  const pace = paceOf(model, [1, 2]);
  expect(paceOf(model, [1, 2])).toBe(pace);
  expect(paceOf(model, [1, 0])).not.toBe(pace);
});
