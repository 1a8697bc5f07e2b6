/** A picture of a run: loss and validation loss over the steps, as SVG that needs nothing but itself. */

export interface Point {
  step: number;
  value: number;
}

const [width, height] = [860, 460];
const frame = { left: 64, right: 836, top: 44, bottom: 412 };
const mostPoints = 600;

/**
 * The SVG text. Training loss is averaged where it has more points than the picture; a reader with a dark theme gets dark colours.
 * @param title shown above, such as the run's folder
 */
export function curveSvg(title: string, loss: readonly Point[], valLoss: readonly Point[]): string {
  const curves = [
    { name: "loss", css: "loss", points: thin(loss.filter(finite)) },
    { name: "validation loss", css: "val", points: thin(valLoss.filter(finite)) },
  ].filter(({ points }) => points.length > 0);
  const all = curves.flatMap(({ points }) => points);
  const x = scale(
    all.map(({ step }) => step),
    [frame.left, frame.right],
    8,
  );
  const y = scale(
    all.map(({ value }) => value),
    [frame.bottom, frame.top],
    6,
  );
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img">`,
    `<title>${escaped(title)}: ${curves.map(({ name }) => name).join(" and ") || "no steps yet"}</title>`,
    style,
    `<rect class="paper" width="${width}" height="${height}"/>`,
    `<text class="title" x="${frame.left}" y="26">${escaped(title)}</text>`,
    ...x.ticks.map((tick) => `<path class="grid" d="M${round(x.at(tick))} ${frame.top}V${frame.bottom}"/>`),
    ...y.ticks.map((tick) => `<path class="grid" d="M${frame.left} ${round(y.at(tick))}H${frame.right}"/>`),
    `<path class="axis" d="M${frame.left} ${frame.top}V${frame.bottom}H${frame.right}"/>`,
    ...x.ticks.map(
      (tick) => `<text text-anchor="middle" x="${round(x.at(tick))}" y="${frame.bottom + 18}">${tickText(tick)}</text>`,
    ),
    ...y.ticks.map(
      (tick) => `<text text-anchor="end" x="${frame.left - 8}" y="${round(y.at(tick) + 4)}">${tickText(tick)}</text>`,
    ),
    `<text text-anchor="middle" x="${(frame.left + frame.right) / 2}" y="${height - 10}">step</text>`,
    `<text text-anchor="middle" transform="translate(18 ${(frame.top + frame.bottom) / 2}) rotate(-90)">loss (nats per token)</text>`,
  ];
  curves.forEach(({ name, css, points }, index) => {
    const places = points.map(({ step, value }) => `${round(x.at(step))} ${round(y.at(value))}`);
    parts.push(`<path class="curve ${css}" d="M${places.join("L")}"/>`);
    // A curve of a few points, as validation often is, shows where it was measured.
    if (points.length <= 60)
      parts.push(
        ...points.map(
          ({ step, value }) => `<circle class="${css}" cx="${round(x.at(step))}" cy="${round(y.at(value))}" r="3"/>`,
        ),
      );
    const [left, top] = [frame.right - 290, frame.top + 16 + index * 20];
    parts.push(`<path class="curve ${css}" d="M${left} ${top - 4}h24"/>`);
    parts.push(
      `<text x="${left + 32}" y="${top}">${name} ${points.at(-1)!.value.toFixed(4)} at step ${points.at(-1)!.step}</text>`,
    );
  });
  return `${[...parts, "</svg>"].join("\n")}\n`;
}

const style = `<style>
  text { font: 13px system-ui, sans-serif; fill: #444; } .title { font-weight: 600; fill: #111; }
  .paper { fill: #fff; } .grid { stroke: #e4e4e4; } .axis { stroke: #888; fill: none; }
  .curve { fill: none; stroke-width: 1.8; stroke-linejoin: round; } .loss { stroke: #1f6fd6; } .val { stroke: #d2541b; }
  circle.loss { fill: #1f6fd6; } circle.val { fill: #d2541b; }
  @media (prefers-color-scheme: dark) {
    text { fill: #bbb; } .title { fill: #eee; } .paper { fill: #16181c; } .grid { stroke: #2a2e35; } .axis { stroke: #777; }
    .loss { stroke: #6cabff; } .val { stroke: #ff9b66; } circle.loss { fill: #6cabff; } circle.val { fill: #ff9b66; }
  }
</style>`;

const finite = ({ value }: Point) => Number.isFinite(value);
const round = (value: number) => Math.round(value * 10) / 10;
const escaped = (text: string) => text.replace(/[&<>]/g, (sign) => `&#${sign.codePointAt(0)};`);
const tickText = (value: number) =>
  Math.abs(value) >= 1e4 ? `${round(value / 1000)}k` : String(Number(value.toPrecision(6)));

/** Means over equal runs of points; the last point stays, since the legend names it. */
function thin(points: readonly Point[]): readonly Point[] {
  if (points.length <= mostPoints) return points;
  const size = Math.ceil(points.length / mostPoints);
  const means: Point[] = [];
  for (let at = 0; at < points.length - 1; at += size) {
    const part = points.slice(at, Math.min(at + size, points.length - 1));
    const mean = (of: (point: Point) => number) => part.reduce((sum, point) => sum + of(point), 0) / part.length;
    means.push({ step: mean(({ step }) => step), value: mean(({ value }) => value) });
  }
  return [...means, points.at(-1)!];
}

/** From values to places in the picture, with ticks at 1, 2 or 5 times a power of ten. */
function scale(values: readonly number[], [from, to]: [number, number], wanted: number) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) [low, high] = [Math.min(low, value), Math.max(high, value)];
  if (low > high) [low, high] = [0, 1];
  if (low === high) [low, high] = [low - 0.5, high + 0.5];
  const rough = (high - low) / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const tick = power * ([1, 2, 5].find((times) => times * power >= rough) ?? 10);
  const [start, end] = [Math.floor(low / tick) * tick, Math.ceil(high / tick) * tick];
  const ticks = Array.from({ length: Math.round((end - start) / tick) + 1 }, (_, index) => start + index * tick);
  return { ticks, at: (value: number) => from + ((value - start) / (end - start)) * (to - from) };
}
