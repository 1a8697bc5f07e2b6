import { provideAccumulator } from "../autograd/backward.ts";
import { noGrad } from "../autograd/graph.ts";
import { op } from "../autograd/op.ts";
import { DTypeError } from "../device/errors.ts";
import { type DType, isFloat, promote } from "../tensor/dtype.ts";
import type { Dims } from "../tensor/shape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { elementwise, expectFloat, fill, updateInPlace } from "./elementwise.ts";
import { sumTo } from "./reduce.ts";

/** A tensor, or a number that takes the tensor's dtype. */
export type Operand = Tensor | number;

interface Unary {
  /** The value in WGSL, of `a`. */
  wgsl: string;
  /** dx, of x, y and dy. */
  gradient: (of: { x: Tensor; y: Tensor; dy: Tensor }) => Tensor;
  /** Integers are taken too. */
  integers?: boolean;
  /** Of those, only ones with a sign. */
  signed?: boolean;
  /** Drivers may lose a NaN in it: WGSL lets them. */
  losesNaN?: boolean;
}

/** The value in WGSL of `a`, and the gradient in ops of x, y and dy: a row an op. */
const unary = {
  neg: { wgsl: "-a", gradient: ({ dy }) => neg(dy), integers: true, signed: true },
  exp: { wgsl: "exp(a)", gradient: ({ y, dy }) => mul(dy, y), losesNaN: true },
  log: { wgsl: "log(a)", gradient: ({ x, dy }) => div(dy, x), losesNaN: true },
  sqrt: { wgsl: "sqrt(a)", gradient: ({ y, dy }) => div(mul(dy, 0.5), y) },
  rsqrt: { wgsl: "inverseSqrt(a)", gradient: ({ y, dy }) => mul(mul(dy, -0.5), mul(y, mul(y, y))) },
  sin: { wgsl: "quarterWave(a, 0)", gradient: ({ x, dy }) => mul(dy, cos(x)) },
  cos: { wgsl: "quarterWave(a, 1)", gradient: ({ x, dy }) => neg(mul(dy, sin(x))) },
  tanh: { wgsl: "safeTanh(a)", gradient: ({ y, dy }) => mul(dy, sub(1, mul(y, y))), losesNaN: true },
  sigmoid: { wgsl: "1.0 / (1.0 + exp(-a))", gradient: ({ y, dy }) => mul(dy, mul(y, sub(1, y))), losesNaN: true },
  logSigmoid: {
    wgsl: "min(a, 0.0) - log(1.0 + exp(-abs(a)))",
    gradient: ({ x, dy }) => mul(dy, sigmoid(neg(x))),
    losesNaN: true,
  },
  silu: {
    wgsl: "a / (1.0 + exp(-a))",
    gradient: ({ x, dy }) => {
      const s = sigmoid(x);
      return mul(dy, mul(s, add(1, mul(x, sub(1, s)))));
    },
  },
  relu: { wgsl: "max(a, 0)", gradient: ({ x, dy }) => where(gt(x, 0), dy, 0), integers: true, losesNaN: true },
  abs: { wgsl: "abs(a)", gradient: ({ x, dy }) => mul(dy, sign(x)), integers: true },
  sign: { wgsl: "sign(a)", gradient: ({ dy }) => mul(dy, 0), integers: true, signed: true, losesNaN: true },
  erf: { wgsl: "erf(a)", gradient: ({ x, dy }) => mul(dy, mul(exp(neg(mul(x, x))), 2 / Math.sqrt(Math.PI))) },
} satisfies Record<string, Unary>;

function unaryOp(name: keyof typeof unary): (x: Tensor) => Tensor {
  const { wgsl, gradient, integers, signed, losesNaN } = unary[name] as Unary;
  return op(name, {
    value(x: Tensor) {
      if (!integers) expectFloat(name, x);
      else if (signed && x.dtype === "u32")
        throw new DTypeError(`${name}: x is u32, expected f32, f16 or i32; cast it first`);
      const y = elementwise(name, losesNaN && isFloat(x.dtype) ? `orNaN(a, ${wgsl})` : wgsl, [x]);
      return { y, saved: { x, y } };
    },
    gradient: (dy, { x, y }) => [gradient({ x, y, dy })],
    twice: true,
  });
}

export const neg = unaryOp("neg");
export const exp = unaryOp("exp");
/** Natural logarithm; -Infinity at 0. */
export const log = unaryOp("log");
export const sqrt = unaryOp("sqrt");
export const rsqrt = unaryOp("rsqrt");
export const sin = unaryOp("sin");
export const cos = unaryOp("cos");
export const tanh = unaryOp("tanh");
export const sigmoid = unaryOp("sigmoid");
/** log(sigmoid(x)), without overflow at either end. */
export const logSigmoid = unaryOp("logSigmoid");
/** x · sigmoid(x). Elfwing et al. 2017, arXiv:1702.03118 */
export const silu = unaryOp("silu");
export const relu = unaryOp("relu");
/** |x|, with gradient 0 at 0. */
export const abs = unaryOp("abs");
export const sign = unaryOp("sign");
/** The error function, to 1.5e-7. */
export const erf = unaryOp("erf");

/** Gaussian error linear unit: exact by default, or by tanh. Hendrycks & Gimpel 2016, arXiv:1606.08415 */
export function gelu(x: Tensor, { approximate = "none" }: { approximate?: "none" | "tanh" } = {}): Tensor {
  if (approximate === "none") return mul(mul(x, 0.5), add(1, erf(mul(x, Math.SQRT1_2))));
  const inner = mul(add(x, mul(mul(x, mul(x, x)), 0.044715)), Math.sqrt(2 / Math.PI));
  return mul(mul(x, 0.5), add(1, tanh(inner)));
}

interface Binary {
  /** The value in WGSL of `a` and `b`. */
  wgsl: string;
  /** [da, db], before they are summed to the operands' shapes. */
  gradient: (of: { a: Tensor; b: Operand; y: Tensor; dy: Tensor; needs: (i: number) => boolean }) => (Tensor | null)[];
  /** The gradient needs no operand's value. */
  linear?: boolean;
}

const when = <T>(wanted: boolean, make: () => T): T | null => (wanted ? make() : null);

const binary = {
  add: { wgsl: "a + b", gradient: ({ dy }) => [dy, dy], linear: true },
  sub: { wgsl: "a - b", gradient: ({ dy, needs }) => [dy, when(needs(1), () => neg(dy))], linear: true },
  mul: {
    wgsl: "a * b",
    gradient: ({ a, b, dy, needs }) => [when(needs(0), () => mul(dy, b)), when(needs(1), () => mul(dy, a))],
  },
  div: {
    wgsl: "a / b",
    gradient: ({ b, y, dy, needs }) => [
      when(needs(0), () => div(dy, b)),
      when(needs(1), () => neg(div(mul(dy, y), b))),
    ],
  },
  minimum: { wgsl: "lesser(a, b)", gradient: ({ a, b, dy }) => shareTies(dy, lt(a, b), eq(a, b)) },
  maximum: { wgsl: "greater(a, b)", gradient: ({ a, b, dy }) => shareTies(dy, gt(a, b), eq(a, b)) },
} satisfies Record<string, Binary>;

/** A tie gives half to each, as in PyTorch. */
function shareTies(dy: Tensor, wins: Tensor, ties: Tensor): Tensor[] {
  const share = add(wins, mul(ties, 0.5));
  return [mul(dy, share), mul(dy, sub(1, share))];
}

function binaryOp(name: keyof typeof binary): (a: Operand, b: Operand) => Tensor {
  const { wgsl, gradient, linear = false } = binary[name] as Binary;
  const apply = op(name, {
    value(a: Tensor, b: Operand) {
      const y = binaryValue(name, wgsl, a, b);
      const like = (t: Operand) => (t instanceof Tensor ? { shape: t.shape, dtype: t.dtype } : undefined);
      const values: { a?: Tensor; b?: Operand; y?: Tensor } = linear ? {} : { a, b, y };
      return { y, saved: { ...values, likeA: like(a), likeB: like(b) } };
    },
    gradient(dy, { a = dy, b = dy, y = dy, likeA, likeB }, { needs }) {
      // Where it is linear it reads none of the three.
      const [da, db] = gradient({ a, b, y, dy, needs });
      const to = (g: Tensor | null, like: { shape: Dims; dtype: DType } | undefined) =>
        g && like ? castTo(sumTo(g, like.shape), like.dtype) : null;
      return [to(da, likeA), to(db, likeB)];
    },
    twice: true,
  });
  return (a, b) => {
    if (a instanceof Tensor) return apply(a, b);
    if (!(b instanceof Tensor)) throw new TypeError(`${name}: both operands are numbers, expected a tensor`);
    return apply(full([], a, isFloat(b.dtype) || Number.isInteger(a) ? b.dtype : "f32"), b);
  };
}

/** A number meets a tensor in the tensor's dtype, unless a fraction meets integers; integers are divided as floats. */
function binaryValue(name: string, wgsl: string, a: Tensor, b: Operand, dtype?: DType): Tensor {
  const fraction = typeof b === "number" && !Number.isInteger(b) && !isFloat(a.dtype);
  const common = b instanceof Tensor ? promote(a.dtype, b.dtype) : fraction ? "f32" : a.dtype;
  const result = name === "div" && !isFloat(common) ? "f32" : common;
  const type = result === "f16" ? "f32" : result;
  const right = b instanceof Tensor ? "b" : "u.s";
  const plain = isFloat(type) ? wgsl : withoutNaN(wgsl);
  const expr = plain.replace(/\ba\b/g, `${type}(a)`).replace(/\bb\b/g, `${type}(${right})`);
  const operands = b instanceof Tensor ? [a, b] : [a];
  return elementwise(name, expr, operands, { dtype: dtype ?? result, s: b instanceof Tensor ? 0 : b });
}

/** The same of integers, which have no NaN. */
const withoutNaN = (wgsl: string) =>
  wgsl
    .replace("lesser(", "min(")
    .replace("greater(", "max(")
    .replace(/same\(a, b\)/, "a == b");

export const add = binaryOp("add");
export const sub = binaryOp("sub");
export const mul = binaryOp("mul");
export const div = binaryOp("div");
export const minimum = binaryOp("minimum");
export const maximum = binaryOp("maximum");

/** x to a power: a number, or a tensor (whose gradient needs x > 0). A negative base takes whole powers only, else NaN. */
export function pow(x: Tensor, p: Operand): Tensor {
  return p instanceof Tensor ? powTensor(x, p) : powNumber(x, p);
}

const powNumber = op("pow", {
  value(x: Tensor, p: number) {
    expectFloat("pow", x);
    const wgsl = p === 2 ? "a * a" : p === 3 ? "a * a * a" : "power(a, u.s)";
    return { y: elementwise("pow", wgsl, [x], { s: p }), saved: { x, p } };
  },
  gradient: (dy, { x, p }) => [p === 0 ? mul(dy, 0) : mul(dy, mul(pow(x, p - 1), p))],
  twice: true,
});

const powTensor = op("pow", {
  value(x: Tensor, p: Tensor) {
    expectFloat("pow", x);
    const y = elementwise("pow", "power(f32(a), f32(b))", [x, p]);
    return { y, saved: { x, p, y } };
  },
  gradient(dy, { x, p, y }, { needs }) {
    const dx = when(needs(0), () => sumTo(mul(dy, mul(p, pow(x, sub(p, 1)))), x.shape));
    const dp = when(needs(1), () => sumTo(mul(dy, mul(y, log(x))), p.shape));
    return [dx, dp];
  },
  twice: true,
});

/** Comparisons give ones and zeros in f32 and have no gradient. */
function comparison(name: string, wgsl: string): (a: Tensor, b: Operand) => Tensor {
  return (a, b) => noGrad(() => binaryValue(name, `select(0.0, 1.0, ${wgsl})`, a, b, "f32"));
}
export const eq = comparison("eq", "same(a, b)");
export const ne = comparison("ne", "!(same(a, b))");
export const lt = comparison("lt", "a < b");
export const le = comparison("le", "a <= b");
export const gt = comparison("gt", "a > b");
export const ge = comparison("ge", "a >= b");

/** a where the condition is not 0, else b; all three broadcast. */
export function where(condition: Tensor, a: Operand, b: Operand): Tensor {
  const dtype = a instanceof Tensor ? a.dtype : b instanceof Tensor ? b.dtype : "f32";
  return whereOp(condition, a instanceof Tensor ? a : full([], a, dtype), b instanceof Tensor ? b : full([], b, dtype));
}

const whereOp = op("where", {
  value(condition: Tensor, a: Tensor, b: Tensor) {
    const dtype = promote(a.dtype, b.dtype);
    const type = dtype === "f16" ? "f32" : dtype;
    const zero = `${condition.dtype === "f16" ? "f32" : condition.dtype}(0)`;
    const y = elementwise("where", `select(${type}(c), ${type}(b), a != ${zero})`, [condition, a, b], { dtype });
    return { y, saved: { condition, aShape: a.shape, bShape: b.shape, aType: a.dtype, bType: b.dtype } };
  },
  gradient(dy, { condition, aShape, bShape, aType, bType }, { needs }) {
    const da = when(needs(1), () => castTo(sumTo(where(condition, dy, 0), aShape), aType));
    const db = when(needs(2), () => castTo(sumTo(where(condition, 0, dy), bShape), bType));
    return [null, da, db];
  },
  twice: true,
});

/** Limits x to [min, max]; the gradient passes where x is inside, bounds included. */
export const clamp = op("clamp", {
  value(x: Tensor, { min = -3.4028234e38, max = 3.4028234e38 }: { min?: number; max?: number }) {
    const type = x.dtype === "f16" ? "f32" : x.dtype;
    const wgsl = isFloat(x.dtype) ? "orNaN(a, clamp(a, u.s, u.t))" : `${type}(clamp(f32(a), u.s, u.t))`;
    return { y: elementwise("clamp", wgsl, [x], { s: min, t: max }), saved: { x, min, max } };
  },
  gradient: (dy, { x, min, max }) => [mul(dy, mul(ge(x, min), le(x, max)))],
  twice: true,
}) as (x: Tensor, range: { min?: number; max?: number }) => Tensor;

/** Converts to another dtype; the gradient comes back in the first one. */
export function cast(x: Tensor, dtype: DType): Tensor {
  return castTo(x, dtype);
}

function castTo(x: Tensor, dtype: DType): Tensor {
  return x.dtype === dtype ? x : castOp(x, dtype);
}

const castOp = op("cast", {
  value: (x: Tensor, dtype: DType) => ({
    y: elementwise("cast", `${dtype === "f16" ? "f32" : dtype}(a)`, [x], { dtype }),
    saved: { from: x.dtype },
  }),
  gradient: (dy, { from }) => [isFloat(from) ? castTo(dy, from) : null],
  twice: true,
});

/** A copy with a buffer of its own. */
export const clone = op("clone", {
  value: (x: Tensor) => ({ y: elementwise("clone", "a", [x]), saved: {} }),
  gradient: (dy) => [dy],
  twice: true,
});

/** A tensor of one value. */
export function full(shape: Dims, value: number, dtype: DType = "f32"): Tensor {
  return fill(Tensor.empty(shape, dtype, "full"), value);
}

provideAccumulator({
  add,
  addInto: (target, dy) => updateInPlace("old + f32(a)", target, [dy]),
  copy: (a) => elementwise("copy", "a", [a]),
  ones: (like) => full(like.shape, 1, like.dtype),
});
