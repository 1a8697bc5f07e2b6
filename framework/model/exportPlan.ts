/** What every conversion of a model's weights shares: its tensors one by one, under other names and in another dtype. */
import { FileError } from "../checkpoint/file.ts";
import { fromFloat32, type HostTensor, toFloat32 } from "../checkpoint/host.ts";

export type FloatDType = "F32" | "F16" | "BF16";

/** A tensor of a conversion, before it is read. */
export interface PlannedTensor {
  /** The name in the new file, and the one in the old. */
  name: string;
  source: string;
  shape: readonly number[];
  /** How the old file keeps it, and the new one. */
  from: string;
  to: string;
  /** Bytes in the new file. */
  bytes: number;
  /** Reads it and checks that its numbers fit. @throws FileError */
  check(): void;
}

/** A conversion that is ready to be written. */
export interface ExportPlan {
  tensors: readonly PlannedTensor[];
  /** What comes out differently from what one may expect. */
  notes: readonly string[];
  /** Writes all of it, or nothing. `onTensor` is told of each tensor as it is read. @returns the names of what was written */
  write(path: string, onTensor: (bytes: number) => void): Promise<string[]>;
}

/**
 * A tensor in another dtype; what it has already is handed on.
 * @throws FileError where a number is too large for F16
 */
export function inDType(path: string, name: string, tensor: HostTensor, dtype: FloatDType): HostTensor {
  if (tensor.dtype === dtype) return tensor;
  const values = toFloat32(tensor);
  if (dtype === "F16") expectHalf(path, name, values);
  return fromFloat32(values, tensor.shape, dtype);
}

/** Halfway between the largest f16 and what would come next: from here on it rounds to infinity. */
const tooLarge = 65_520;

/** @throws FileError where a finite number is beyond f16 */
export function expectHalf(path: string, name: string, values: Float32Array): void {
  for (let i = 0; i < values.length; i++) {
    const size = Math.abs(values[i]!);
    if (size >= tooLarge && size !== Infinity)
      throw new FileError(
        path,
        `tensor ${name}: ${values[i]} does not fit F16 (65,504 at most); take --dtype BF16 or F32`,
      );
  }
}
