/**
 * WGSL that watches itself: every access to workgroup memory, and to storage that the kernel writes, is noted in a buffer beside it, and two
 * lanes that touch one element in no order, one of them writing, are told. CPUs run lanes in an order that hides such races; GPUs do not.
 *
 * An index `x[i]` becomes `x[noteRead(…, i)]` or `x[noteWrite(…, i)]`, which give `i` back. Beside each element stand three words: who wrote
 * it last, and the highest and lowest lane that read it. Barriers count up a lane's epoch: what lies in different ones is in order.
 */

/** A module has so many places for what it tells: variables times the kinds of races. */
export const VARIABLES = 16;
export const KINDS = ["read after a write", "write after a write", "write after a read"] as const;
/** Modules that one buffer tells of. */
export const MODULES = 1024;
/** Where it is told that an access was not noted, since the buffer is too small for it or its epoch too late. */
export const LEFT_OUT = VARIABLES * KINDS.length * MODULES;
export const TOLD_WORDS = LEFT_OUT + 4;

interface Variable {
  name: string;
  /** Elements of each axis; none for storage, whose length is known when it runs. */
  sizes: number[];
  /** Not an array: it becomes one of a single element. */
  single: boolean;
  storage: boolean;
  /** WGSL: where its notes begin, in elements. */
  start: string;
}

export interface Watched {
  code: string;
  /** In the order of their numbers. */
  variables: string[];
}

/**
 * @param module the number that it tells its races under, below {@link MODULES}
 * @throws Error where the text does something that is not understood
 */
export function watched(source: string, module: number): Watched {
  const text = source.replace(/\/\/.*$/gm, "");
  const [variables, declared] = declarations(text);
  if (variables.length > VARIABLES)
    throw new Error(`${variables.length} variables to watch, ${VARIABLES} are foreseen`);
  const [head, body] = splitDirectives(noted(barriers(declared), variables));
  const storage = variables.filter((v) => v.storage);
  const shared = sum(variables.filter((v) => !v.storage).map((v) => v.sizes.reduce((a, b) => a * b)));
  const code = `${head}\n${notes(module)}\n${entered(body, { storage: storage.map((v) => v.name), shared })}`;
  return { code, variables: variables.map((v) => v.name) };
}

const sum = (numbers: number[]) => numbers.reduce((a, b) => a + b, 0);

/** What is to be watched, and the text in which single variables are arrays. */
function declarations(text: string): [Variable[], string] {
  const found: Variable[] = [];
  const waits = /var<storage, read_write> \w+: array<atomic</.test(text); // workgroups may wait for each other by it
  let shared = 0;
  const storage: string[] = [];
  const declared = text.replace(/var<(workgroup|storage, read_write)> (\w+): ([^;]+);/g, (all, space, name, type) => {
    if (space === "workgroup") {
      const sizes = axes(type);
      const single = sizes.length === 0;
      found.push({ name, sizes: single ? [1] : sizes, single, storage: false, start: `sharedStart + ${shared}u` });
      shared += sizes.reduce((a, b) => a * b, 1);
      return single ? `var<workgroup> ${name}: array<${type}, 1>;` : all;
    }
    if (waits) return all;
    const start = storage.map((earlier) => `arrayLength(&${earlier})`).join(" + ") || "0u";
    found.push({ name, sizes: [], single: false, storage: true, start });
    storage.push(name);
    return all;
  });
  return [found, declared];
}

/** `array<array<vec4f, 4>, 8>` is [8, 4]. */
function axes(type: string): number[] {
  const [, element, size] = /^array<(.*), (\d+)>$/.exec(type.trim()) ?? [];
  return element ? [Number(size), ...axes(element)] : [];
}

const barriers = (text: string) =>
  text
    .replaceAll("workgroupBarrier();", "{ workgroupBarrier(); sharedEpoch++; }")
    .replaceAll("storageBarrier();", "{ storageBarrier(); storageEpoch++; }")
    .replace(/([;{}])([^;{}]*\bworkgroupUniformLoad\()/g, "$1 sharedEpoch++; $2"); // a barrier before it and one behind it

/** The text with its accesses noted. */
function noted(text: string, variables: Variable[]): string {
  const byName = new Map(variables.map((v, i) => [v.name, { ...v, number: i, elsewhere: hidden(text, v.name) }]));
  const within = (from: number, to: number): string => {
    let out = "";
    let at = from;
    for (const match of text.slice(from, to).matchAll(/(?<![.\w])[A-Za-z_]\w*/g)) {
      const start = from + match.index;
      const variable = byName.get(match[0]);
      if (start < at || !variable || variable.elsewhere.some(([a, b]) => start > a && start < b)) continue;
      const before = text.slice(0, start);
      if (/(var<[^>]*> |arrayLength\(&)$/.test(before)) continue;
      let end = start + match[0].length;
      if (/workgroupUniformLoad\(&$/.test(before)) {
        out += text.slice(at, end) + (variable.single ? "[0]" : "");
        at = end;
        continue;
      }
      const indices = variable.single ? ["0u"] : [];
      for (const _ of variable.single ? [] : variable.storage ? [0] : variable.sizes) {
        if (text[end] !== "[") throw new Error(`${match[0]} without an index: ${text.slice(start, start + 40)}`);
        const close = matching(text, end);
        indices.push(within(end + 1, close));
        end = close + 1;
      }
      out += text.slice(at, start) + match[0] + access(variable, kindOf(before, text, end), indices);
      at = end;
    }
    return out + text.slice(at, to);
  };
  return within(0, text.length);
}

/** Where another thing goes by the name: the blocks of declarations that shadow it. */
function hidden(text: string, name: string): [from: number, to: number][] {
  const locals = text.matchAll(new RegExp(`\\b(?:let|var|const) ${name}\\b|[(,]\\s*${name}\\s*:`, "g"));
  const fields = [...text.matchAll(/\bstruct \w+ \{[^}]*\}/g)].map(({ 0: all, index }) => [index, index + all.length]);
  const blocks = [...locals].map(({ 0: found, index }) => {
    const parameter = !/^(let|var|const)/.test(found);
    let depth = parameter ? -1 : 0; // a parameter's block is still to begin
    for (let i = index; i < text.length; i++) {
      if (text[i] === "{") depth++;
      if (text[i] === "}" && (parameter ? --depth < 0 : depth-- === 0)) return [index, i];
    }
    return [index, text.length];
  });
  return [...fields, ...blocks] as [number, number][];
}

/** The bracket that closes the one at `open`. */
function matching(text: string, open: number): number {
  for (let i = open, depth = 0; i < text.length; i++) {
    if (text[i] === "[") depth++;
    if (text[i] === "]" && --depth === 0) return i;
  }
  throw new Error(`no ] for ${text.slice(open, open + 40)}`);
}

function kindOf(before: string, text: string, end: number): "Read" | "Write" | "Atomic" {
  const atomic = /atomic(\w+)\(&$/.exec(before)?.[1];
  if (atomic) return atomic === "Load" ? "Read" : atomic === "Store" ? "Write" : "Atomic";
  if (/[^&]&$/.test(before)) throw new Error(`a pointer: ${text.slice(end - 40, end)}`);
  let rest = end;
  for (;;) {
    const [member] = /^\.\w+/.exec(text.slice(rest, rest + 40)) ?? [];
    if (member) rest += member.length;
    else if (text[rest] === "[") rest = matching(text, rest) + 1;
    else break;
  }
  return /^\s*(=(?!=)|[-+*/|&^%]=|<<=|>>=|\+\+|--)/.test(text.slice(rest, rest + 10)) ? "Write" : "Read";
}

function access(v: Variable & { number: number }, kind: string, indices: string[]): string {
  const flat = indices
    .slice(1)
    .reduce((at, i, axis) => `(${at}) * ${v.sizes[axis + 1]}u + u32(${i})`, `u32(${indices[0]})`);
  const last = indices.at(-1);
  const note = `note${kind}(${v.storage}, ${v.number}u, ${v.start}, ${flat}, u32(${last}))`;
  return `${indices
    .slice(0, -1)
    .map((i) => `[${i}]`)
    .join("")}[${note}]`;
}

function splitDirectives(text: string): [head: string, body: string] {
  const [head] = /^(\s*(enable|diagnostic|requires)\b[^;]*;)*/.exec(text) ?? [""];
  return [head, text.slice(head.length)];
}

/** The entry point tells lane and workgroup. */
function entered(text: string, { storage, shared }: { storage: string[]; shared: number }): string {
  const builtins = { workgroup_id: "vec3u", num_workgroups: "vec3u", local_invocation_index: "u32" };
  return text.replace(/\bfn main\(([^{]*?)\)\s*\{/, (_, parameters: string) => {
    const names = Object.entries(builtins).map(([builtin, type]) => {
      const [, own] = new RegExp(`@builtin\\(${builtin}\\) (\\w+)`).exec(parameters) ?? [];
      return {
        name: own ?? `watched_${builtin}`,
        added: own ? "" : `@builtin(${builtin}) watched_${builtin}: ${type}`,
      };
    });
    const [group, groups, lane] = names.map(({ name }) => name);
    const all = [parameters.trim().replace(/,$/, ""), ...names.map(({ added }) => added)].filter(Boolean).join(", ");
    return `fn main(${all}) {
      ownLane = ${lane};
      ownGroup = ${group}.x + ${groups}.x * (${group}.y + ${groups}.y * ${group}.z);
      sharedStart = ${storage.map((name) => `arrayLength(&${name}) + `).join("")}ownGroup * ${shared}u;`;
  });
}

/**
 * A tag says who: 12 bits of workgroup, 10 of its epoch, 10 of the lane. The counter tag sorts groups and lanes the other way round, so
 * that the largest of each are the two ends. Atomic changes are one lane's, 1022: they are in order among themselves.
 */
const notes = (module: number) => `
  @group(1) @binding(0) var<storage, read_write> notes: array<atomic<u32>>;
  var<private> ownLane: u32; var<private> ownGroup: u32; var<private> sharedStart: u32;
  var<private> sharedEpoch = 1u; var<private> storageEpoch = 1u;
  fn epoch(storage: bool) -> u32 { return select(sharedEpoch, storageEpoch, storage); }
  fn tag(storage: bool, lane: u32) -> u32 { return ((ownGroup & 0xfffu) << 20u) | (epoch(storage) << 10u) | lane; }
  fn counter(tag: u32) -> u32 { return tag ^ 0xfff003ffu; }
  fn disordered(one: u32, other: u32) -> bool { return one != 0u && one != other && (one >> 20u != other >> 20u || one >> 10u == other >> 10u); }
  fn tell(kind: u32, variable: u32, element: u32) { atomicStore(&notes[(${module * VARIABLES}u + variable) * ${KINDS.length}u + kind], element + 1u); }
  fn placeOf(start: u32, element: u32, storage: bool) -> u32 {
    let at = ${TOLD_WORDS}u + 3u * (start + element);
    if (at + 2u < arrayLength(&notes) && epoch(storage) < 1024u) { return at; }
    atomicStore(&notes[${LEFT_OUT}u], 1u);
    return 0u;
  }
  fn noteRead(storage: bool, variable: u32, start: u32, element: u32, index: u32) -> u32 {
    let at = placeOf(start, element, storage);
    if (at > 0u) {
      let own = tag(storage, ownLane);
      atomicMax(&notes[at + 1u], own);
      atomicMax(&notes[at + 2u], counter(own));
      if (disordered(atomicLoad(&notes[at]), own)) { tell(0u, variable, element); }
    }
    return index;
  }
  fn written(storage: bool, variable: u32, start: u32, element: u32, lane: u32) {
    let at = placeOf(start, element, storage);
    if (at == 0u) { return; }
    let own = tag(storage, lane);
    let before = atomicExchange(&notes[at], own);
    let most = atomicLoad(&notes[at + 1u]);
    let least = atomicLoad(&notes[at + 2u]);
    let read = disordered(most, own) || (least != 0u && disordered(counter(least), own));
    if (read || disordered(before, own)) { tell(select(1u, 2u, read), variable, element); }
  }
  fn noteWrite(storage: bool, variable: u32, start: u32, element: u32, index: u32) -> u32 {
    written(storage, variable, start, element, ownLane);
    return index;
  }
  fn noteAtomic(storage: bool, variable: u32, start: u32, element: u32, index: u32) -> u32 {
    written(storage, variable, start, element, 1022u);
    return index;
  }`;
