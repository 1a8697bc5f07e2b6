import { expect, test } from "bun:test";
import { Graph } from "../../bench/peers/onnx.ts";

/** Fields of a protobuf message: numbers as they are, what has a length as bytes. */
function fields(bytes: Uint8Array): [field: number, value: number | Uint8Array][] {
  const found: [number, number | Uint8Array][] = [];
  let at = 0;
  const varint = () => {
    let [value, factor] = [0, 1];
    for (; bytes[at] & 128; factor *= 128) value += (bytes[at++] & 127) * factor;
    return value + bytes[at++] * factor;
  };
  while (at < bytes.length) {
    const key = varint();
    if ((key & 7) === 0) found.push([key >> 3, varint()]);
    else {
      const length = (key & 7) === 5 ? 4 : varint();
      found.push([key >> 3, bytes.subarray(at, at + length)]);
      at += length;
    }
  }
  return found;
}

const part = (message: Uint8Array, field: number) => fields(message).flatMap(([at, x]) => (at === field ? [x] : []));
const parts = (message: Uint8Array, field: number) => part(message, field) as Uint8Array[];
const texts = (message: Uint8Array, field: number) => parts(message, field).map((x) => new TextDecoder().decode(x));

test("a graph is written as onnx.proto says", () => {
  const g = new Graph();
  const x = g.input("x", "float32", [1, "length"]);
  const w = g.initializer("w", "float32", [300], new Float32Array(300).fill(2));
  const attributes = { axis: -1, epsilon: { float: 0.5 }, equation: "a,a->a" };
  expect(g.node("com.microsoft.Some", [x, "", w], attributes, ["y", "z"])).toBe("y");
  expect(g.node("Other", ["y"])).toBe("Other_1");
  g.output("y", "int32", []);
  const [graph] = parts(g.model(), 7);
  const [first, second] = parts(graph, 1);
  expect([texts(first, 1), texts(first, 2), texts(first, 4), texts(first, 7)]).toEqual([
    ["x", "", "w"],
    ["y", "z"],
    ["Some"],
    ["com.microsoft"],
  ]);
  expect([texts(second, 1), texts(second, 2), texts(second, 7)]).toEqual([["y"], ["Other_1"], [""]]);
  const [axis, epsilon, equation] = parts(first, 5);
  expect([texts(axis, 1), part(axis, 3), part(axis, 20)]).toEqual([["axis"], [2 ** 64 - 1], [2]]);
  expect([...parts(epsilon, 2)[0]]).toEqual([0, 0, 0, 0x3f]);
  expect([texts(equation, 4), part(equation, 20)]).toEqual([["a,a->a"], [3]]);
  const [weight] = parts(graph, 5);
  expect([part(weight, 1), part(weight, 2), texts(weight, 8)]).toEqual([[300], [1], ["w"]]);
  expect(parts(weight, 9)[0]).toEqual(new Uint8Array(new Float32Array(300).fill(2).buffer));
  expect([...parts(graph, 11), ...parts(graph, 12)].flatMap((value) => texts(value, 1))).toEqual(["x", "y"]);
});
