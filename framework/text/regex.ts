/**
 * Split patterns in tokenizer.json are written for Oniguruma (Ruby syntax). This turns the part of it that byte-level
 * tokenizers use into a JavaScript RegExp that matches the same, and refuses the rest by name.
 */

const wordChars = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}";

/** Inside a class `[…]`. JavaScript's own \s, \d and \w are other sets than Oniguruma's. */
const setEscapes: Record<string, string> = {
  s: "\\p{White_Space}",
  S: "\\P{White_Space}",
  d: "\\p{Nd}",
  D: "\\P{Nd}",
  w: wordChars,
  h: "0-9A-Fa-f",
  a: "\\x07",
  e: "\\x1B",
};

/** Outside of a class. */
const escapes: Record<string, string> = {
  ...setEscapes,
  w: `[${wordChars}]`,
  W: `[^${wordChars}]`,
  h: "[0-9A-Fa-f]",
  H: "[^0-9A-Fa-f]",
  A: "(?<![\\s\\S])",
  z: "(?![\\s\\S])",
  Z: "(?=\\n?(?![\\s\\S]))",
};

const single: Record<string, string> = {
  ".": "[^\\n]",
  "^": "(?:(?<![\\s\\S])|(?<=\\n))",
  $: "(?:(?=\\n)|(?![\\s\\S]))",
  "]": "\\]",
  "}": "\\}",
};

const syntaxChars = "^$\\.*+?()[]{}|/-";
const groupStarts = ["(?:", "(?=", "(?!", "(?<=", "(?<!", "(?i:"];
const escapePattern = /\\(?:[pP]\{[^}]+\}|x\{[0-9A-Fa-f]+\}|x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|[\s\S])/uy;
const quantifierPattern = /(?:[*+?]|\{\d+(?:,\d*)?\}|\{,\d+\})/y;

function matchAt(pattern: RegExp, source: string, at: number): string | undefined {
  pattern.lastIndex = at;
  return pattern.exec(source)?.[0];
}

/**
 * Compiles an Oniguruma pattern to a global Unicode RegExp. Case is folded in ASCII only and the possessive quantifiers
 * `?+ ++ *+` are plain greedy ones, both as `@huggingface/tokenizers` has them.
 * @throws SyntaxError that names what is not supported, or what is wrong
 */
export function compileOniguruma(source: string): RegExp {
  let out = "";
  let atom = 0; // where the last atom begins in `out`
  let fold = false;
  const groups: { fold: boolean; atom: number }[] = [];
  const add = (text: string): void => {
    atom = out.length;
    out += text;
  };
  for (let at = 0; at < source.length; ) {
    const char = String.fromCodePoint(source.codePointAt(at)!);
    const quantifier = matchAt(quantifierPattern, source, at);
    if (char === "\\") {
      const text = matchAt(escapePattern, source, at) ?? char;
      add(translateEscape(text, escapes, fold));
      at += text.length;
    } else if (char === "[") {
      const { text, end } = translateClass(source, at, fold);
      add(text);
      at = end;
    } else if (char === "(") {
      const open = groupStart(source, at);
      groups.push({ fold, atom: out.length });
      fold ||= open === "(?i:";
      out += open === "(" || open === "(?i:" ? "(?:" : open;
      at += open.length;
    } else if (char === ")") {
      ({ fold, atom } = groups.pop() ?? { fold: false, atom: 0 });
      out += char;
      at++;
    } else if (quantifier !== undefined) {
      out += quantifier.startsWith("{,") ? `{0${quantifier.slice(1)}` : quantifier;
      at += quantifier.length;
      if (source[at] === "?") out += source[at++];
      // After braces a plus repeats the whole; after another quantifier it makes that one possessive.
      else if (source[at] === "+" && quantifier.startsWith("{")) out = `${out.slice(0, atom)}(?:${out.slice(atom)})+`;
      if (source[at] === "+") at++;
    } else {
      add(char === "{" ? "\\{" : (single[char] ?? (fold ? foldChar(char) : char)));
      at += char.length;
    }
  }
  return new RegExp(out, "gu");
}

function groupStart(source: string, at: number): string {
  if (source[at + 1] !== "?") return "(";
  const known = groupStarts.find((start) => source.startsWith(start, at));
  if (known === undefined) throw new SyntaxError(`group ${source.slice(at, at + 4)} is not supported`);
  return known;
}

function foldChar(char: string): string {
  return /[A-Za-z]/.test(char) ? `[${char.toLowerCase()}${char.toUpperCase()}]` : char;
}

function translateEscape(text: string, table: Record<string, string>, fold: boolean): string {
  const char = text.slice(1);
  if (text.length === 1) throw new SyntaxError("the pattern ends in a backslash");
  if (/^[pP]\{/.test(char)) return propertyEscape(text);
  if (char.length > 1 && /^[xu]/.test(char)) {
    const point = Number.parseInt(char.replace(/[xu{}]/g, ""), 16);
    if (point > 0x10ffff) throw new SyntaxError(`${text} is no code point`);
    const folded = foldChar(String.fromCodePoint(point));
    return fold && folded.length > 2 ? folded : `\\u{${point.toString(16)}}`;
  }
  const known = table[char];
  if (known !== undefined) return known;
  if (/^[rntfv]$/.test(char)) return text;
  if (/^[A-Za-z0-9]$/.test(char)) throw new SyntaxError(`escape ${text} is not supported here`);
  return syntaxChars.includes(char) ? (char === "-" ? "\\x2d" : text) : char;
}

/** `\p{Han}` is a script by its bare name in Oniguruma; JavaScript wants `\p{Script=Han}`. */
function propertyEscape(text: string): string {
  const name = text.slice(3, -1);
  for (const candidate of [text, `${text.slice(0, 3)}Script=${name}}`]) {
    try {
      new RegExp(candidate, "u");
      return candidate;
    } catch {
      // try the next spelling
    }
  }
  throw new SyntaxError(`Unicode property ${text} is not known`);
}

function translateClass(source: string, start: number, fold: boolean): { text: string; end: number } {
  const negated = source[start + 1] === "^";
  let at = start + (negated ? 2 : 1);
  const first = at;
  let body = "";
  while (source[at] !== "]" || at === first) {
    if (at >= source.length) throw new SyntaxError(`character class at ${start} does not end`);
    if (source[at] === "[") throw new SyntaxError(`a class inside the class at ${start} is not supported`);
    if (source.startsWith("&&", at))
      throw new SyntaxError(`the intersection && in the class at ${start} is not supported`);
    const char = String.fromCodePoint(source.codePointAt(at)!);
    const text = char === "\\" ? (matchAt(escapePattern, source, at) ?? char) : char;
    if (char === "\\") body += translateEscape(text, setEscapes, false);
    else body += char === "-" ? dash(source, at, first) : syntaxChars.includes(char) ? `\\${char}` : char;
    at += text.length;
  }
  if (fold) body += missingCases(body);
  return { text: `[${negated ? "^" : ""}${body}]`, end: at + 1 };
}

/** A dash at either end of a class is itself; elsewhere it makes a range. */
function dash(source: string, at: number, first: number): string {
  return at === first || source[at + 1] === "]" ? "\\x2d" : "-";
}

/** The ASCII letters whose other case a class holds and which it does not hold itself. */
function missingCases(body: string): string {
  const set = new RegExp(`[${body}]`, "u");
  let missing = "";
  for (let c = 65; c <= 90; c++) {
    const upper = String.fromCharCode(c);
    const lower = upper.toLowerCase();
    if (set.test(upper) !== set.test(lower)) missing += set.test(upper) ? lower : upper;
  }
  return missing;
}
