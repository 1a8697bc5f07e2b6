import { expect, test } from "bun:test";
import { attentionSpans } from "../../kernels/attentionSpans.ts";
import { spansOf } from "./attentionReference.ts";
import { runKernel } from "./launch.ts";

async function spans(segments: Int32Array, batch: number, tokens: number): Promise<number[]> {
  const arrays = { segments, spans: new Uint32Array(2 * segments.length + 6).fill(99) };
  const result = await runKernel(attentionSpans, arrays, ["spans"], {}, { batch, tokens });
  return Array.from(new Uint32Array(result.spans.buffer));
}

test("a document's tokens get its first token and the one behind its last", async () => {
  const packed = Int32Array.of(5, 5, 5, -1, -1, 9);
  expect(await spans(packed, 1, 6)).toEqual([0, 3, 0, 3, 0, 3, 3, 5, 3, 5, 5, 6, 99, 99, 99, 99, 99, 99]);
});

for (const [batch, tokens] of [
  [1, 1],
  [3, 37],
  [2, 517],
])
  test(`${batch} × ${tokens} tokens of scattered segments equal the definition`, async () => {
    const scattered = Int32Array.from({ length: batch * tokens }, (_, i) => (i * i) % 11);
    expect((await spans(scattered, batch, tokens)).slice(0, 2 * batch * tokens)).toEqual(
      Array.from(spansOf(scattered, tokens)),
    );
  });
