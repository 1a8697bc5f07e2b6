import { expect, test } from "bun:test";
import { unicodeWidth } from "@std/cli/unicode-width";
import { bytes, duration, figure, short } from "../../framework/run/format.ts";
import { fit, LiveLine, type Part, progressBar } from "../../framework/run/live.ts";

class Screen {
  text = "";
  constructor(
    readonly isTTY: boolean,
    readonly columns = 80,
  ) {}
  write(text: string): void {
    this.text += text;
  }
}

const parts: Part[] = [
  ["step", "12/100"],
  ["loss", "3.2140"],
  ["", "2:10 left"],
  ["lr", "5.00e-4"],
];

test("on a terminal the line is drawn over, at most ten times a second, and ends with its last values", () => {
  const screen = new Screen(true);
  const line = new LiveLine(screen);
  line.show([["step", "1"]]);
  line.show([["step", "2"]]);
  line.show([["step", "3"]]);
  expect(screen.text.match(/\r/g)).toHaveLength(1);
  line.end();
  expect(screen.text).toEndWith("3\n");
  line.end();
  expect(screen.text.match(/\n/g)).toHaveLength(1);
});

test("text is printed above the line, which is drawn again", () => {
  const screen = new Screen(true);
  const line = new LiveLine(screen);
  line.show([["", "live"]]);
  line.print("above");
  expect(screen.text).toBe("\r\x1b[Klive\r\x1b[Kabove\n\r\x1b[Klive");
});

test("in a file lines are plain, one at first and then one every ten seconds, and the last when asked for", () => {
  const screen = new Screen(false);
  const line = new LiveLine(screen);
  for (let step = 1; step < 5; step++) line.show([["step", String(step)]]);
  line.show(parts, true);
  line.end();
  expect(screen.text).toBe("step 1\nstep 12/100  loss 3.2140  2:10 left  lr 5.00e-4\n");
});

test("labels are dim on a terminal, and plain under NO_COLOR", () => {
  const drawn = () => {
    const screen = new Screen(true);
    new LiveLine(screen).show(parts);
    return screen.text;
  };
  const before = process.env.NO_COLOR;
  delete process.env.NO_COLOR;
  expect(drawn()).toContain("\x1b[2mloss\x1b[22m 3.2140");
  process.env.NO_COLOR = "1";
  expect(drawn()).toContain("  loss 3.2140  ");
  if (before === undefined) delete process.env.NO_COLOR;
  else process.env.NO_COLOR = before;
});

test("what does not fit the width is left out from the end, and the first part is cut if need be", () => {
  expect(fit(parts, 200)).toHaveLength(4);
  expect(fit(parts, 25)).toEqual(parts.slice(0, 2));
  const [[, cut]] = fit([["万有引力原理", "是"]], 8) as [Part];
  expect(unicodeWidth(cut)).toBeLessThanOrEqual(8);
  expect(cut).toEndWith("…");
  for (let columns = 1; columns < 60; columns++) {
    const screen = new Screen(true, columns);
    new LiveLine(screen).show(parts);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: the terminal's escape sequences
    const shown = screen.text.replace(/\x1b\[\w*|\r/g, "");
    if (columns > 1) expect(unicodeWidth(shown)).toBeLessThan(columns);
  }
});

test("a progress bar shows share, amount and time left, and at the end the time taken", () => {
  const screen = new Screen(true);
  let time = 0;
  const bar = progressBar("tokenizing", 10e6, { output: screen, now: () => time });
  time = 10_000;
  bar.update(2.5e6);
  expect(screen.text).toContain("tokenizing  ██████                    25%  2.50 MB of 10.0 MB  0:30 left");
  bar.update(10e6);
  bar.finish();
  expect(screen.text).toEndWith("tokenizing  10.0 MB  in 0:10\n");
});

test("a progress bar in a file writes few lines, and without a total only what was done", () => {
  const screen = new Screen(false);
  const bar = progressBar("training", 0, { unit: "tokens", output: screen, now: () => 0 });
  for (let done = 0; done < 1000; done++) bar.update(done);
  bar.finish();
  expect(screen.text).toBe("training  0 tokens  0:00\ntraining  999 tokens  in 0:00\n");
});

test("figures are short and have a unit", () => {
  expect([0, 59.6, 245, 3723, 183_600].map(duration)).toEqual(["0:00", "1:00", "4:05", "1:02:03", "2d 3:00:00"]);
  expect([7, 999, 999.7, 12_345, 1.2e9, 99_960].map(short)).toEqual(["7", "999", "1.00k", "12.3k", "1.20G", "100k"]);
  expect([512, 2e6].map(bytes)).toEqual(["512 B", "2.00 MB"]);
  expect([3.2, 5e-4, 0, 123.456, 1e9, Number.NaN].map(figure)).toEqual([
    "3.2000",
    "5.00e-4",
    "0.0000",
    "123.5",
    "1.00e+9",
    "NaN",
  ]);
});
