import { expect, test } from "bun:test";
import { beside, columnWidth, wrap } from "../../recipes/shared/columns.ts";

test("text is broken between words, and between Chinese characters, which take two columns", () => {
  expect(wrap("the quick brown fox", 9)).toEqual(["the quick", "brown fox"]);
  expect(wrap("天空是蓝色的。", 5)).toEqual(["天空", "是蓝", "色的", "。"]);
  expect(wrap("光速是299792458米", 12)).toEqual(["光速是", "299792458米"]);
  expect(wrap("a\n\nb", 5)).toEqual(["a", "", "b"]);
  expect(wrap("abcdefgh ij", 3)).toEqual(["abc", "def", "gh", "ij"]);
  expect(wrap("", 3)).toEqual([""]);
});

test("texts stand side by side, the shorter one's place left empty", () => {
  expect(beside(["天空 blue", "one two three"], 6)).toBe("天空   │ one\nblue   │ two\n       │ three");
});

test("two and three replies have room in 100 columns, none in fewer", () => {
  expect([columnWidth(2, 100), columnWidth(3, 100), columnWidth(4, 100)]).toEqual([48, 31, undefined]);
  expect([columnWidth(2, 99), columnWidth(1, 200), columnWidth(4, 200)]).toEqual([undefined, undefined, 47]);
});
