/** What a GGUF file is made of. https://github.com/ggml-org/ggml/blob/master/docs/gguf.md */
import { fromFloat32, type HostData, toFloat32 } from "./host.ts";

/** Types of metadata by their numbers in the file. */
export const valueTypes = {
  ...{ u8: 0, i8: 1, u16: 2, i16: 3, u32: 4, i32: 5, f32: 6, bool: 7, string: 8, array: 9, u64: 10, i64: 11, f64: 12 },
} as const;
export type ValueType = keyof typeof valueTypes;

/** How a tensor's numbers are kept: id, elements to a block, bytes of a block. */
export const ggmlTypes = {
  F32: { id: 0, block: 1, bytes: 4 },
  F16: { id: 1, block: 1, bytes: 2 },
  Q8_0: { id: 8, block: 32, bytes: 34 },
  BF16: { id: 30, block: 1, bytes: 2 },
} as const;
export type GgmlType = keyof typeof ggmlTypes;

export const magic = 0x46554747; // "GGUF"
export const version = 3;
/** Where tensors begin, unless `general.alignment` says otherwise. */
export const defaultAlignment = 32;
export const aligned = (offset: number, to: number): number => Math.ceil(offset / to) * to;

/** Bytes of so many elements. */
export function ggmlBytes(type: GgmlType, elements: number): number {
  const { block, bytes } = ggmlTypes[type];
  return (elements / block) * bytes;
}

/** f32 in a type's bytes. For Q8_0 the count is a multiple of 32. */
export function encodeGgml(values: Float32Array<ArrayBuffer>, type: GgmlType): HostData {
  return type === "Q8_0" ? quantize(values) : fromFloat32(values, [values.length], type).data;
}

/** A type's bytes as f32. */
export function decodeGgml(bytes: Uint8Array<ArrayBuffer>, type: GgmlType): Float32Array<ArrayBuffer> {
  if (type === "Q8_0") return dequantize(bytes);
  const { buffer, byteOffset, byteLength } = bytes;
  if (type === "F32") return new Float32Array(buffer, byteOffset, byteLength / 4);
  const data = new { F16: Float16Array, BF16: Uint16Array }[type](buffer, byteOffset, byteLength / 2);
  return toFloat32({ dtype: type, data });
}

/** Blocks of 32: a scale in f16, the largest magnitude / 127, and 32 signed bytes. */
function quantize(values: Float32Array): Uint8Array<ArrayBuffer> {
  const { block, bytes } = ggmlTypes.Q8_0;
  const result = new Uint8Array(ggmlBytes("Q8_0", values.length));
  const quants = new Int8Array(result.buffer);
  const view = new DataView(result.buffer);
  for (let at = 0, to = 0; at < values.length; at += block, to += bytes) {
    let largest = 0;
    for (let i = at; i < at + block; i++) largest = Math.max(largest, Math.abs(values[i]!));
    const scale = Math.fround(largest / 127);
    view.setFloat16(to, scale, true);
    const inverse = scale > 0 ? Math.fround(1 / scale) : 0;
    for (let i = 0; i < block; i++) {
      const scaled = Math.fround(values[at + i]! * inverse);
      quants[to + 2 + i] = scaled < 0 ? -Math.floor(0.5 - scaled) : Math.floor(scaled + 0.5); // halves away from zero
    }
  }
  return result;
}

function dequantize(packed: Uint8Array<ArrayBuffer>): Float32Array<ArrayBuffer> {
  const { block, bytes } = ggmlTypes.Q8_0;
  const view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength);
  const result = new Float32Array((packed.length / bytes) * block);
  for (let from = 0, at = 0; from < packed.length; from += bytes, at += block) {
    const scale = view.getFloat16(from, true);
    for (let i = 0; i < block; i++) result[at + i] = scale * view.getInt8(from + 2 + i);
  }
  return result;
}
