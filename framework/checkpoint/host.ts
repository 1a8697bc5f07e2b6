/** Tensors as checkpoint files hold them, in host memory, and the numbers in them as the engine wants them. */
import { DTypeError, ShapeError } from "../device/errors.ts";
import type { DType } from "../tensor/dtype.ts";

/** Bytes of an element, and the array that holds it; BF16 as its bits (the upper half of an F32). */
export const fileDTypes = {
  F64: Float64Array,
  F32: Float32Array,
  F16: Float16Array,
  BF16: Uint16Array,
  I64: BigInt64Array,
  I32: Int32Array,
  I16: Int16Array,
  I8: Int8Array,
  U32: Uint32Array,
  U8: Uint8Array,
  BOOL: Uint8Array,
} as const;

/** An element's type in a file, by safetensors' names. */
export type FileDType = keyof typeof fileDTypes;
export type HostData = InstanceType<(typeof fileDTypes)[FileDType]>;

export interface TensorInfo {
  readonly shape: readonly number[];
  readonly dtype: FileDType;
}

/** A tensor in host memory, row by row; `data` is the array of its dtype in {@link fileDTypes}. */
export interface HostTensor extends TensorInfo {
  readonly data: HostData;
}

export function isFileDType(name: unknown): name is FileDType {
  return typeof name === "string" && Object.hasOwn(fileDTypes, name);
}

/** Elements of a shape. */
export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((size, length) => size * length, 1);
}

/** Bytes of an element. */
export function bytesPerElement(dtype: FileDType): number {
  return fileDTypes[dtype].BYTES_PER_ELEMENT;
}

/** Bytes of a whole tensor; beyond 2^53 no longer exact, but still too large for anything. */
export function byteLength({ shape, dtype }: TensorInfo): number {
  return sizeOf(shape) * bytesPerElement(dtype);
}

/** Views little-endian bytes as a dtype's array; they must begin at a multiple of its element's size. */
export function viewAs(bytes: Uint8Array<ArrayBuffer>, dtype: FileDType): HostData {
  return new fileDTypes[dtype](bytes.buffer, bytes.byteOffset, bytes.byteLength / bytesPerElement(dtype));
}

export function describeTensor({ shape, dtype }: TensorInfo): string {
  return `${dtype} [${shape.join(", ")}]`;
}

/** @throws ShapeError or DTypeError, beginning with `name`, where a tensor's data is not what its shape and dtype say */
export function expectHostTensor(name: string, tensor: TensorInfo, data: HostData): void {
  const wanted = fileDTypes[tensor.dtype];
  if (wanted === undefined) throw new DTypeError(`${name}: dtype is ${tensor.dtype}, expected one of ${dtypeNames()}`);
  if (!(data instanceof wanted)) {
    throw new DTypeError(`${name}: ${tensor.dtype} data is in a ${data.constructor.name}, expected a ${wanted.name}`);
  }
  if (!tensor.shape.every((length) => Number.isSafeInteger(length) && length >= 0)) {
    throw new ShapeError(`${name}: shape is [${tensor.shape.join(", ")}], expected whole numbers`);
  }
  if (data.length !== sizeOf(tensor.shape)) {
    const elements = `${sizeOf(tensor.shape)} elements, but its data has ${data.length}`;
    throw new ShapeError(`${name}: shape [${tensor.shape.join(", ")}] means ${elements}`);
  }
}

export const dtypeNames = (): string => Object.keys(fileDTypes).join(", ");

const engineDTypes: Record<FileDType, DType> = {
  ...{ F64: "f32", F32: "f32", F16: "f16", BF16: "f32" },
  ...{ I64: "i32", I32: "i32", I16: "i32", I8: "i32", U32: "u32", U8: "i32", BOOL: "i32" },
};

/** The engine's dtype that holds a file's: F64 and BF16 become f32, I64 and the small integers and BOOL i32. */
export function engineDType(dtype: FileDType): DType {
  return engineDTypes[dtype];
}

/** The file's dtype of the engine's. */
export function fileDType(dtype: DType): FileDType {
  return ({ f32: "F32", f16: "F16", i32: "I32", u32: "U32" } as const)[dtype];
}

/**
 * A tensor's numbers as f32, whatever its dtype; integers beyond 2^24 and F64 are rounded. F32 is handed on, not copied.
 */
export function toFloat32({ dtype, data }: Pick<HostTensor, "dtype" | "data">): Float32Array<ArrayBuffer> {
  if (dtype === "BF16") return bfloat16ToFloat32(data as Uint16Array);
  if (data instanceof BigInt64Array) return Float32Array.from(int64ToNumbers(data));
  if (data instanceof Float32Array) return data as Float32Array<ArrayBuffer>;
  return new Float32Array(data as Exclude<HostData, BigInt64Array | BigUint64Array>);
}

/**
 * An integer or BOOL tensor's numbers as i32. I32 is handed on, not copied.
 * @throws DTypeError for floats, RangeError for a value that i32 does not hold
 */
export function toInt32({ dtype, data }: Pick<HostTensor, "dtype" | "data">): Int32Array<ArrayBuffer> {
  if (data instanceof Int32Array) return data as Int32Array<ArrayBuffer>;
  if (engineDType(dtype) === "f32" || engineDType(dtype) === "f16") {
    throw new DTypeError(`toInt32: dtype is ${dtype}, expected integers or BOOL`);
  }
  const numbers = data instanceof BigInt64Array ? int64ToNumbers(data) : (data as Uint32Array);
  const result = new Int32Array(numbers.length);
  for (let i = 0; i < numbers.length; i++) {
    result[i] = numbers[i]!;
    if (result[i] !== numbers[i]) throw new RangeError(`toInt32: element ${i} is ${numbers[i]}, which i32 cannot hold`);
  }
  return result;
}

/** f32 rounded to nearest, ties to even; beyond 65,504 infinity, below 2^-25 zero. Exact, subnormals too. */
export function toFloat16(values: Float32Array): Float16Array<ArrayBuffer> {
  return new Float16Array(values);
}

/** The bits of f32 rounded to bfloat16, to nearest, ties to even; a NaN stays a NaN. */
export function toBfloat16(values: Float32Array): Uint16Array<ArrayBuffer> {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const result = new Uint16Array(bits.length);
  for (let i = 0; i < bits.length; i++) {
    const x = bits[i]!;
    // A NaN whose payload is all in the lower half would round to infinity: set its quiet bit instead.
    const notANumber = (x & 0x7fffffff) > 0x7f800000;
    result[i] = notANumber ? (x >>> 16) | 0x40 : (x + 0x7fff + ((x >>> 16) & 1)) >>> 16;
  }
  return result;
}

/** A tensor of floats as a file holds them: rounded to nearest even for F16 and BF16, handed on for F32. */
export function fromFloat32(
  values: Float32Array<ArrayBuffer>,
  shape: readonly number[],
  dtype: "F64" | "F32" | "F16" | "BF16" = "F32",
): HostTensor {
  const data = {
    F64: () => new Float64Array(values),
    F32: () => values,
    F16: () => toFloat16(values),
    BF16: () => toBfloat16(values),
  }[dtype]();
  expectHostTensor("fromFloat32", { shape, dtype }, data);
  return { shape, dtype, data };
}

function bfloat16ToFloat32(halves: Uint16Array): Float32Array<ArrayBuffer> {
  const bits = new Uint32Array(halves.length);
  for (let i = 0; i < halves.length; i++) bits[i] = halves[i]! << 16;
  return new Float32Array(bits.buffer);
}

/** As numbers, exact up to 2^53. Through the halves: a bigint for each would be twenty times slower. */
function int64ToNumbers(data: BigInt64Array): Float64Array<ArrayBuffer> {
  const halves = new Int32Array(data.buffer, data.byteOffset, data.length * 2);
  const result = new Float64Array(data.length);
  for (let i = 0; i < result.length; i++) result[i] = halves[2 * i + 1]! * 2 ** 32 + (halves[2 * i]! >>> 0);
  return result;
}
