import { kernel, type Scalar } from "../framework/device/kernel.ts";
import { eachItem, type ItemTuning, itemSpace, itemWorkgroups } from "./shared/items.ts";

export interface PointwiseShape {
  [name: string]: string | number | boolean;
  /** WGSL for one element: of `a`, `b`, `c` (floats as f32), `old` (what y holds) and the uniforms `u.s`, `u.t`. */
  expr: string;
  /** Dtypes of the operands and of y, such as `f32,i32>f16`; one with a star behind it (flat only) has a single element, for all. */
  types: string;
  /** 0: all operands are contiguous and of y's shape; else the number of axes walked by strides. */
  rank: number;
  /** Flat only: four elements a lane. */
  vec4: boolean;
  /** y is read before it is written, and elements outside the walk stay. */
  update: boolean;
}

const names = ["a", "b", "c"];

/**
 * y = expr(a, b, c), element by element, the operands broadcast, permuted or sliced by strides; y too may be walked by strides
 * (then elements between stay as they are). One pipeline per expression serves all sizes.
 */
export const pointwise = kernel<PointwiseShape, ItemTuning>({
  name: "pointwise",
  bindings: ({ types, update }) => ({
    ...Object.fromEntries(operandTypes(types).map((_, i) => [names[i], "read" as const])),
    y: update ? ("update" as const) : ("write" as const),
  }),
  types: ({ types, rank, vec4 }) => {
    const element = (type: string) => (rank === 0 && vec4 ? `vec4<${type}>` : type);
    const operands = operandTypes(types).map((type, i) => [names[i], isSingle(types, i) ? type : element(type)]);
    return Object.fromEntries([...operands, ["y", element(resultType(types))]]);
  },
  uniforms: {
    n: "u32",
    s: "f32",
    t: "f32",
    ...Object.fromEntries(Array.from({ length: 6 }, (_, i) => [`d${i}`, "u32" as const])),
    ...Object.fromEntries(
      ["a", "b", "c", "y"].flatMap((o) => [0, 1, 2, 3, 4, 5].map((i) => [`${o}${i}`, "u32" as const])),
    ),
    aAt: "u32",
    bAt: "u32",
    cAt: "u32",
    yAt: "u32",
  },
  sizes: ["n"],
  ...itemSpace,
  workgroups: ({ rank, vec4 }, tuning, { n }) => itemWorkgroups(n / (rank === 0 && vec4 ? 4 : 1), tuning),
  cost: ({ types }, { n }) => ({
    flops: n,
    bytes: n * [...operandTypes(types), resultType(types)].reduce((sum, t) => sum + (t === "f16" ? 2 : 4), 0),
  }),
  wgsl: (shape, tuning) => `
    ${helpers(shape.expr)}
    fn f(${parameters(shape)}) -> ${resultType(shape.types)} { return ${resultType(shape.types)}(${shape.expr}); }
    ${eachItem(tuning, "n", shape.rank > 0 ? strided(shape) : shape.vec4 ? four(shape) : one(shape))}`,
});

function operandTypes(types: string): Scalar[] {
  const list = types.split(">")[0].replaceAll("*", "");
  return list ? (list.split(",") as Scalar[]) : [];
}

function isSingle(types: string, i: number): boolean {
  return types.split(">")[0].split(",")[i]?.endsWith("*") ?? false;
}

function resultType(types: string): Scalar {
  return types.split(">")[1] as Scalar;
}

/** Floats are computed in f32 whatever they are stored in. */
function computed(type: Scalar): string {
  return type === "f16" ? "f32" : type;
}

function parameters({ types, update }: PointwiseShape): string {
  const operands = operandTypes(types).map((type, i) => `${names[i]}: ${computed(type)}`);
  return [...operands, ...(update ? [`old: ${computed(resultType(types))}`] : [])].join(", ");
}

function call({ types, update }: PointwiseShape, at: (name: string) => string): string {
  const values = operandTypes(types).map((type, i) => `${computed(type)}(${at(names[i])})`);
  return `f(${[...values, ...(update ? [`${computed(resultType(types))}(${at("y")})`] : [])].join(", ")})`;
}

function one(shape: PointwiseShape): string {
  const at = (name: string) => (isSingle(shape.types, names.indexOf(name)) ? `${name}[0]` : `${name}[i]`);
  return `if (i < u.n) { y[i] = ${call(shape, at)}; }`;
}

function four(shape: PointwiseShape): string {
  const single = (name: string) => isSingle(shape.types, names.indexOf(name));
  const parts = [..."xyzw"].map((part) => call(shape, (name) => (single(name) ? `${name}4` : `${name}4.${part}`)));
  const loads = [...operandTypes(shape.types).map((_, i) => names[i]), ...(shape.update ? ["y"] : [])];
  return `if (i < u.n / 4u) {
        ${loads.map((name) => `let ${name}4 = ${name}[${single(name) ? "0" : "i"}];`).join(" ")}
        y[i] = vec4<${resultType(shape.types)}>(${parts.join(", ")});
      }`;
}

function strided(shape: PointwiseShape): string {
  const walked = [...operandTypes(shape.types).map((_, i) => names[i]), "y"];
  const steps: string[] = [];
  for (let axis = shape.rank - 1; axis >= 0; axis--) {
    const coordinate = axis === 0 ? "rest" : `rest % u.d${axis}`;
    steps.push(
      `{ let k = ${coordinate}; ${walked.map((o) => `${o}I += k * u.${o}${axis};`).join(" ")}${axis ? ` rest /= u.d${axis};` : ""} }`,
    );
  }
  return `if (i >= u.n) { return; }
      var rest = i;
      ${walked.map((o) => `var ${o}I = u.${o}At;`).join(" ")}
      ${steps.join("\n      ")}
      y[yI] = ${call(shape, (name) => `${name}[${name}I]`)};`;
}

/** WGSL functions that expressions may call, included where one does, and those that these call. */
function helpers(expr: string): string {
  const called = (text: string) => Object.keys(library).filter((name) => text.includes(`${name}(`));
  const wanted = new Set(called(expr));
  for (const name of wanted) for (const other of called(library[name])) wanted.add(other); // a set goes on with what is added
  return [...wanted].map((name) => library[name]).join("\n");
}

const library: Record<string, string> = {
  // WGSL's pow is undefined from zero down, and its constants may be neither NaN nor infinite.
  power: `
    fn power(x: f32, p: f32) -> f32 {
      var infinity = 0x7f800000u;
      if (p == 0.0 || x == 1.0) { return 1.0; }
      if (x > 0.0) { return pow(x, p); }
      if (x == 0.0 && p > 0.0) { return 0.0; }
      if (x == 0.0 && p < 0.0) { return bitcast<f32>(infinity); }
      if (p != floor(p)) { return bitcast<f32>(infinity + 0x400000u); }
      let magnitude = pow(-x, p);
      return select(magnitude, -magnitude, fract(p * 0.5) != 0.0);
    }`,
  // x != x may be compiled to false.
  isNaN: "fn isNaN(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u; }",
  orNaN: "fn orNaN(x: f32, y: f32) -> f32 { if (isNaN(x)) { return x; } return y; }",
  // WGSL's min and max may drop a NaN.
  lesser: "fn lesser(x: f32, y: f32) -> f32 { return orNaN(x, orNaN(y, min(x, y))); }",
  greater: "fn greater(x: f32, y: f32) -> f32 { return orNaN(x, orNaN(y, max(x, y))); }",
  same: "fn same(x: f32, y: f32) -> bool { return x == y && !isNaN(x); }",
  // WGSL promises 2^-11 of sin and cos, and that within ±π only: by quarter turns (taken away in three parts) and Cephes' polynomials (Moshier).
  quarterWave: `
    fn quarterWave(x: f32, ahead: i32) -> f32 {
      let turns = round(x * 0.6366197723675814);
      let r = x - turns * 1.5703125 - turns * 4.83751297e-4 - turns * 7.5497899549e-8;
      let r2 = r * r;
      let quarter = (i32(turns) + ahead) & 3;
      let sine = r + r * r2 * (-0.16666654611 + r2 * (8.3321608736e-3 - r2 * 1.9515295891e-4));
      let cosine = 1.0 - 0.5 * r2 + r2 * r2 * (4.166664568298827e-2 + r2 * (-1.388731625493765e-3 + r2 * 2.443315711809948e-5));
      let y = select(sine, cosine, (quarter & 1) == 1);
      return select(y, -y, quarter >= 2);
    }`,
  // Some drivers compute tanh through exp, which overflows.
  safeTanh: "fn safeTanh(x: f32) -> f32 { return tanh(clamp(x, -15.0, 15.0)); }",
  // Abramowitz & Stegun 7.1.26, |error| < 1.5e-7.
  erf: `
    fn erf(x: f32) -> f32 {
      let t = 1.0 / (1.0 + 0.3275911 * abs(x));
      let p = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
      return sign(x) * (1.0 - p * exp(-x * x));
    }`,
};
