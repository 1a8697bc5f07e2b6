import { expect, test } from "bun:test";
import fc from "fast-check";
import {
  bytesPerElement,
  engineDType,
  fileDType,
  fileDTypes,
  fromFloat32,
  type HostTensor,
  toBfloat16,
  toFloat16,
  toFloat32,
  toInt32,
} from "../../framework/checkpoint/host.ts";

const bitsOf = (values: Float16Array): Uint16Array => new Uint16Array(values.buffer, values.byteOffset, values.length);
const float = fc.oneof(fc.float({ noNaN: true }), fc.float({ noNaN: true, min: -70_000, max: 70_000 }));

/** The nearest of all values of a 16-bit format by search in float64; of two equally near the one with even bits. */
function nearest(x: number, valueAt: (bits: number) => number, infinity: number, beyond: number): number {
  const sign = x < 0 || Object.is(x, -0) ? 0x8000 : 0;
  const [value, last] = [Math.abs(x), infinity - 1];
  if (value >= beyond) return sign | infinity;
  let low = 0;
  for (let step = 0x4000; step > 0; step >>= 1) {
    if (low + step <= last && valueAt(low + step) <= value) low += step;
  }
  if (low === last) return sign | low;
  const [down, up] = [value - valueAt(low), valueAt(low + 1) - value];
  return sign | (down < up || (down === up && low % 2 === 0) ? low : low + 1);
}

/** IEEE 754 binary16 by its definition. */
function halfValue(bits: number): number {
  const [exponent, fraction] = [bits >> 10, bits & 0x3ff];
  return exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25);
}

function bfloatValue(bits: number): number {
  const [exponent, fraction] = [bits >> 7, bits & 0x7f];
  return exponent === 0 ? fraction * 2 ** -133 : (128 + fraction) * 2 ** (exponent - 134);
}

test("f32 is rounded to f16 to the nearest, ties to even, as float64 finds it", () => {
  fc.assert(
    fc.property(float, (x) =>
      expect(bitsOf(toFloat16(Float32Array.of(x)))[0]).toBe(nearest(x, halfValue, 0x7c00, 65520)),
    ),
    { numRuns: 2000 },
  );
});

test("Each f16, the middle to the next and the floats beside that middle round right", () => {
  const values: number[] = [];
  for (let bits = 0; bits < 0x7c00; bits += 1 + (bits % 7)) {
    const middle = (halfValue(bits) + halfValue(bits + 1)) / 2;
    const beside = new Int32Array(Float32Array.of(middle, middle).buffer);
    beside[0]!--;
    beside[1]!++;
    values.push(halfValue(bits), middle, ...new Float32Array(beside.buffer));
  }
  const rounded = bitsOf(toFloat16(Float32Array.from(values)));
  const wrong = values.filter((x, i) => rounded[i] !== nearest(x, halfValue, 0x7c00, 65520));
  expect(wrong).toEqual([]);
});

test("f32 is rounded to bf16 to the nearest, ties to even, as float64 finds it", () => {
  const beyond = bfloatValue(0x7f7f) + 2 ** 119;
  const tie = fc.integer({ min: 0, max: 0x7f7e }).map((bits) => (bfloatValue(bits) + bfloatValue(bits + 1)) / 2);
  fc.assert(
    fc.property(fc.oneof(float, tie), (x) =>
      expect(toBfloat16(Float32Array.of(x))[0]).toBe(nearest(x, bfloatValue, 0x7f80, beyond)),
    ),
    { numRuns: 2000 },
  );
});

test("Infinities, zeros of both signs and NaN survive both ways", () => {
  const odd = Float32Array.of(Infinity, -Infinity, 0, -0, NaN);
  expect([...bitsOf(toFloat16(odd)).subarray(0, 4)]).toEqual([0x7c00, 0xfc00, 0, 0x8000]);
  expect([...toBfloat16(odd).subarray(0, 4)]).toEqual([0x7f80, 0xff80, 0, 0x8000]);
  for (const dtype of ["F16", "BF16"] as const) expect([...toFloat32(fromFloat32(odd, [5], dtype))]).toEqual([...odd]);
  const signaling = new Float32Array(Uint32Array.of(0x7f800001, 0xff800001, 0x7fffffff).buffer);
  expect([...toFloat32({ dtype: "BF16", data: toBfloat16(signaling) })]).toEqual([NaN, NaN, NaN]);
});

test("Every f16 and bf16 goes to f32 by its definition and comes back the same", () => {
  const all = Uint16Array.from({ length: 65536 }, (_, i) => i);
  for (const [dtype, data, value, infinity] of [
    ["F16", new Float16Array(all.buffer), halfValue, 0x7c00],
    ["BF16", all, bfloatValue, 0x7f80],
  ] as const) {
    const wide = toFloat32({ dtype, data });
    const back = dtype === "F16" ? bitsOf(toFloat16(wide)) : toBfloat16(wide);
    const wrong = all.filter((bits) => {
      const magnitude = bits & 0x7fff;
      if (magnitude > infinity) return !Number.isNaN(wide[bits]);
      const sign = bits > 0x7fff ? -1 : 1;
      return wide[bits] !== sign * (magnitude === infinity ? Infinity : value(magnitude)) || back[bits] !== bits;
    });
    expect([...wrong]).toEqual([]);
  }
});

test("Integers, BOOL and F64 become f32 and i32", () => {
  const rows: [HostTensor["dtype"], HostTensor["data"], number[]][] = [
    ["I64", BigInt64Array.of(-1n, 2n ** 31n - 1n, -(2n ** 31n), 0n), [-1, 2 ** 31 - 1, -(2 ** 31), 0]],
    ["I32", Int32Array.of(-7, 7), [-7, 7]],
    ["I16", Int16Array.of(-7, 7), [-7, 7]],
    ["I8", Int8Array.of(-7, 7), [-7, 7]],
    ["U32", Uint32Array.of(7), [7]],
    ["U8", Uint8Array.of(250), [250]],
    ["BOOL", Uint8Array.of(1, 0), [1, 0]],
  ];
  for (const [dtype, data, numbers] of rows) {
    expect([...toInt32({ dtype, data })]).toEqual(numbers);
    expect(toFloat32({ dtype, data })).toEqual(Float32Array.from(numbers));
  }
  expect(toFloat32({ dtype: "F64", data: Float64Array.of(0.1, 1e300) })).toEqual(Float32Array.of(0.1, Infinity));
  expect(toFloat32({ dtype: "I64", data: BigInt64Array.of(2n ** 53n, -(2n ** 40n)) })).toEqual(
    Float32Array.of(2 ** 53, -(2 ** 40)),
  );
});

test("What i32 cannot hold is refused with the element's number", () => {
  expect(() => toInt32({ dtype: "I64", data: BigInt64Array.of(1n, 2n ** 31n) })).toThrow(
    new RangeError("toInt32: element 1 is 2147483648, which i32 cannot hold"),
  );
  expect(() => toInt32({ dtype: "U32", data: Uint32Array.of(2 ** 32 - 1) })).toThrow("element 0 is 4294967295");
  expect(() => toInt32({ dtype: "BF16", data: Uint16Array.of(1) })).toThrow(
    "toInt32: dtype is BF16, expected integers or BOOL",
  );
});

test("F32 and I32 are handed on, not copied", () => {
  const [floats, integers] = [Float32Array.of(1), Int32Array.of(1)];
  expect(toFloat32({ dtype: "F32", data: floats })).toBe(floats);
  expect(toInt32({ dtype: "I32", data: integers })).toBe(integers);
  expect(fromFloat32(floats, [1]).data).toBe(floats);
});

test("A shape that does not fit is refused", () =>
  expect(() => fromFloat32(Float32Array.of(1, 2, 3), [2, 2], "BF16")).toThrow(
    "fromFloat32: shape [2, 2] means 4 elements, but its data has 3",
  ));

test("Each of the engine's dtypes has its place in a file", () => {
  for (const dtype of ["f32", "f16", "i32", "u32"] as const) expect(engineDType(fileDType(dtype))).toBe(dtype);
  expect(engineDType("BF16")).toBe("f32");
  expect(engineDType("I64")).toBe("i32");
  const sizes = Object.keys(fileDTypes).map((dtype) => bytesPerElement(dtype as keyof typeof fileDTypes));
  expect(sizes).toEqual([8, 4, 2, 2, 8, 4, 2, 1, 4, 1, 1]);
});
