import { DTypeError } from "../device/errors.ts";
import type { Scalar } from "../device/kernel.ts";

/** What a tensor's elements are. There is no bool: comparisons give f32 ones and zeros. */
export type DType = Scalar;

const sizes: Record<DType, number> = { f32: 4, f16: 2, i32: 4, u32: 4 };

export function bytesOf(dtype: DType): number {
  return sizes[dtype];
}

export function isFloat(dtype: DType): boolean {
  return dtype === "f32" || dtype === "f16";
}

/** The dtype that two operands meet in: floats win over integers, the wider over the narrower, i32 over u32. */
export function promote(a: DType, b: DType): DType {
  if (a === b) return a;
  if (isFloat(a) !== isFloat(b)) return isFloat(a) ? a : b;
  return isFloat(a) ? "f32" : "i32";
}

export type HostArray = Float32Array<ArrayBuffer> | Int32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>;

/** The bytes that a GPU buffer of this dtype holds for these numbers. */
export function encode(values: ArrayLike<number>, dtype: DType): ArrayBufferView {
  if (dtype === "f32") return values instanceof Float32Array ? values : Float32Array.from(values);
  if (dtype === "f16") return Float16Array.from(values);
  const [type, least, most] =
    dtype === "i32" ? ([Int32Array, -(2 ** 31), 2 ** 31 - 1] as const) : ([Uint32Array, 0, 2 ** 32 - 1] as const);
  if (values instanceof type) return values;
  for (let i = 0; i < values.length; i++)
    if (!(values[i] >= least && values[i] <= most))
      throw new DTypeError(`tensor: ${values[i]} at ${i} does not fit ${dtype}`);
  return type.from(values);
}

/** What was read from a GPU buffer, as numbers; f16 widens to f32. */
export function decode(bytes: ArrayBuffer, dtype: DType): HostArray {
  if (dtype === "f32") return new Float32Array(bytes);
  if (dtype === "f16") return Float32Array.from(new Float16Array(bytes));
  return dtype === "i32" ? new Int32Array(bytes) : new Uint32Array(bytes);
}

/** @throws DTypeError unless the dtype is one of those an op takes */
export function expectDType(op: string, name: string, dtype: DType, allowed: readonly DType[]): void {
  if (!allowed.includes(dtype)) throw new DTypeError(`${op}: ${name} is ${dtype}, expected ${allowed.join(" or ")}`);
}
