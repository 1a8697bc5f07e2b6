import { expect, test } from "bun:test";
import { ReplyView } from "../../recipes/shared/replyView.ts";

function shown(pieces: readonly string[], options: { color: boolean; thinking?: boolean }): string {
  let text = "";
  const view = new ReplyView((piece) => {
    text += piece;
  }, options);
  for (const piece of pieces) view.push(piece);
  view.end();
  return text;
}

const reply =
  '<think>\nhm\n</think>\n\n1 < 2, a <b>.<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>!';
const plain = '<think>\nhm\n</think>\n\n1 < 2, a <b>.[calls add {"a":1}]!';

test("tags are found however the text is cut, and nothing is lost", () => {
  for (const size of [1, 2, 3, 7, 1000]) {
    const pieces = reply.match(new RegExp(`[^]{1,${size}}`, "g")) ?? [];
    expect([size, shown(pieces, { color: false })]).toEqual([size, plain]);
  }
});

test("with colours thoughts are dim and calls stand out", () => {
  const text = shown([reply], { color: true });
  expect(Bun.stripANSI(text)).toBe(plain);
  expect(text).toContain("\x1b[2m\nhm\n\x1b[22m");
  expect(text).toContain('\x1b[36m[calls add {"a":1}]\x1b[39m');
});

test("a reply whose prompt has opened <think> begins in it", () => {
  expect(shown(["a</think>b"], { color: false, thinking: true })).toBe("<think>\na</think>b");
});

test("calls that are broken, unfinished or escape the terminal are told", () => {
  expect(shown(["<tool_call>{no}</tool_call>"], { color: false })).toBe(
    "[a tool call that is not JSON of a name and arguments: {no}]",
  );
  expect(shown(['<tool_call>{"name": "a"'], { color: false })).toBe('[a tool call without its end: {"name": "a"]');
  expect(shown(["x <thi"], { color: false })).toBe("x <thi");
  expect(shown(["a\x1b[2Jb\rc\td\n"], { color: false })).toBe("a\ufffd[2Jb\ufffdc\td\n");
});
