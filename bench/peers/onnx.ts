/** As much of ONNX's file format, which is protobuf, as a graph with its weights needs. Field numbers are those of onnx.proto. */

/** TensorProto.DataType */
const types = { float32: 1, int32: 6, int64: 7 };
export type Type = keyof typeof types;

/** The bytes of a message, in pieces: weights are copied once, when all is written. */
type Pieces = Uint8Array[];

function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128);
  return Uint8Array.of(...bytes, Number(rest));
}

const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView) => new Uint8Array(buffer, byteOffset, byteLength);
const length = (pieces: Pieces) => pieces.reduce((sum, piece) => sum + piece.length, 0);
const integer = (field: number, value: number): Pieces => [varint(field * 8), varint(value)];
const float = (field: number, value: number): Pieces => [varint(field * 8 + 5), bytesOf(Float32Array.of(value))];
const message = (field: number, pieces: Pieces): Pieces => [varint(field * 8 + 2), varint(length(pieces)), ...pieces];
const text = (field: number, value: string) => message(field, [new TextEncoder().encode(value)]);

/** Integers and strings, but for what is marked as a float. */
export type Attributes = Record<string, number | string | { float: number }>;

function attribute(name: string, value: Attributes[string]): Pieces {
  if (typeof value === "string") return [...text(1, name), ...text(4, value), ...integer(20, 3)];
  if (typeof value === "number") return [...text(1, name), ...integer(3, value), ...integer(20, 2)];
  return [...text(1, name), ...float(2, value.float), ...integer(20, 1)];
}

function valueInfo(name: string, type: Type, shape: (number | string)[]): Pieces {
  const dimensions = shape.flatMap((n) => message(1, typeof n === "number" ? integer(1, n) : text(2, n)));
  return [...text(1, name), ...message(2, message(1, [...integer(1, types[type]), ...message(2, dimensions)]))];
}

/** A graph, written node by node in the order of execution. Values are strings: their names. */
export class Graph {
  private readonly pieces: Pieces = [];
  private nodes = 0;

  /** An input; a dimension that is not known yet has a name. */
  input(name: string, type: Type, shape: (number | string)[]): string {
    this.pieces.push(...message(11, valueInfo(name, type, shape)));
    return name;
  }

  output(name: string, type: Type, shape: (number | string)[]): void {
    this.pieces.push(...message(12, valueInfo(name, type, shape)));
  }

  /** A weight, or a constant. */
  initializer(name: string, type: Type, shape: number[], data: ArrayBufferView): string {
    const fields = [...shape.flatMap((n) => integer(1, n)), ...integer(2, types[type]), ...text(8, name)];
    this.pieces.push(...message(5, [...fields, ...message(9, [bytesOf(data)])]));
    return name;
  }

  /**
   * Adds a node and returns the name of its first output; "" leaves an optional input or output out.
   * @param op with its domain, if that is not ONNX's own: `com.microsoft.GroupQueryAttention`
   */
  node(op: string, inputs: string[], attributes: Attributes = {}, outputs?: string[]): string {
    const dot = op.lastIndexOf(".");
    const name = `${op.slice(dot + 1)}_${this.nodes++}`;
    const out = outputs ?? [name];
    this.pieces.push(
      ...message(1, [
        ...inputs.flatMap((value) => text(1, value)),
        ...out.flatMap((value) => text(2, value)),
        ...text(3, name),
        ...text(4, op.slice(dot + 1)),
        ...Object.entries(attributes).flatMap(([key, value]) => message(5, attribute(key, value))),
        ...text(7, op.slice(0, Math.max(dot, 0))),
      ]),
    );
    return out[0];
  }

  /** The model's file, of operator set 21 and Microsoft's. */
  model(): Uint8Array<ArrayBuffer> {
    const set = (domain: string, version: number) => message(8, [...text(1, domain), ...integer(2, version)]);
    const graph = message(7, [...text(2, "decoder"), ...this.pieces]);
    const pieces = [...integer(1, 10), ...set("", 21), ...set("com.microsoft", 1), ...graph];
    const file = new Uint8Array(length(pieces));
    let at = 0;
    for (const piece of pieces) {
      file.set(piece, at);
      at += piece.length;
    }
    return file;
  }
}
