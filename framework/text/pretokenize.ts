/** Receives the piece text[start, end). */
export type Emit = (text: string, start: number, end: number) => void;

/** Cuts text[start, end) into pieces; each piece is encoded by itself. */
export type Splitter = (text: string, start: number, end: number, emit: Emit) => void;

const [other, letter, number, space] = [0, 1, 2, 3];
const classes: [RegExp, number][] = [
  [/\p{L}/u, letter],
  [/\p{N}/u, number],
  [/\s/u, space],
];

function classify(char: string): number {
  return classes.find(([pattern]) => pattern.test(char))?.[1] ?? other;
}

const unknown = 255;
/** The class of each code point, found out when it is first met. */
const classTable = new Uint8Array(0x110000).fill(unknown);

function classOf(codePoint: number): number {
  const known = classTable[codePoint]!;
  if (known !== unknown) return known;
  const found = classify(String.fromCodePoint(codePoint));
  classTable[codePoint] = found;
  return found;
}

const isLowSurrogate = (c: number): boolean => c >= 0xdc00 && c < 0xe000;
const isHighSurrogate = (c: number): boolean => c >= 0xd800 && c < 0xdc00;

/** The end of the run of code points of `wanted` class from `at`. */
function runEnd(text: string, at: number, end: number, wanted: number): number {
  while (at < end) {
    const c = text.charCodeAt(at);
    if (isHighSurrogate(c) && at + 1 < end && isLowSurrogate(text.charCodeAt(at + 1))) {
      if (classOf(text.codePointAt(at)!) !== wanted) break;
      at += 2;
    } else {
      const known = classTable[c]!;
      if ((known === unknown ? classOf(c) : known) !== wanted) break;
      at++;
    }
  }
  return at;
}

const apostrophe = 0x27;
const contraction = /'(?:s|t|re|ve|m|ll|d)/y;

/**
 * GPT-2's pieces: contractions, and runs of letters, of numbers or of anything else with one space in front, and spaces.
 * By hand what the pattern `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+` matches; white
 * space is JavaScript's `\s` as in `@huggingface/tokenizers`.
 */
export const splitGpt2: Splitter = (text, start, end, emit) => {
  for (let at = start; at < end; ) {
    let stop = at;
    const c = text.charCodeAt(at);
    if (c === apostrophe) {
      contraction.lastIndex = at;
      if (contraction.test(text) && contraction.lastIndex <= end) stop = contraction.lastIndex;
    }
    if (stop === at) {
      let from = at;
      let found = classAt(text, at, end);
      if (c === 0x20 && at + 1 < end) {
        const after = classAt(text, at + 1, end);
        if (after !== space) {
          from = at + 1;
          found = after;
        }
      }
      stop = runEnd(text, from, end, found);
      // The last space of several goes with the word behind it.
      if (found === space && stop < end && stop - at > 1) stop--;
    }
    emit(text, at, stop);
    at = stop;
  }
};

function classAt(text: string, at: number, end: number): number {
  const c = text.charCodeAt(at);
  const pair = isHighSurrogate(c) && at + 1 < end && isLowSurrogate(text.charCodeAt(at + 1));
  return classOf(pair ? text.codePointAt(at)! : c);
}

/** Each match is a piece and so is what lies between (`Isolated`), or one of the two is left out. */
export function splitByRegex(pattern: RegExp, keep: { matches: boolean; between: boolean }): Splitter {
  return (text, start, end, emit) => {
    const part = start === 0 && end === text.length ? text : text.slice(start, end);
    let done = 0;
    pattern.lastIndex = 0;
    for (let match = pattern.exec(part); match !== null; match = pattern.exec(part)) {
      const stop = match.index + match[0].length;
      if (keep.between && match.index > done) emit(part, done, match.index);
      if (keep.matches && stop > match.index) emit(part, match.index, stop);
      if (stop === match.index) pattern.lastIndex += part.codePointAt(stop)! > 0xffff ? 2 : 1;
      done = stop;
    }
    if (keep.between && done < part.length) emit(part, done, part.length);
  };
}

/** Puts a space in front of text that does not begin with one (`add_prefix_space`), then splits. */
export function prefixSpace(inner: Splitter): Splitter {
  return (text, start, end, emit) => {
    if (text.charCodeAt(start) === 0x20) return inner(text, start, end, emit);
    const spaced = " " + text.slice(start, end);
    inner(spaced, 0, spaced.length, emit);
  };
}

/** One piece. */
export const splitNothing: Splitter = (text, start, end, emit) => emit(text, start, end);

/** Splits by the first, each piece by the second, and so on. */
export function splitInTurn(splitters: readonly Splitter[]): Splitter {
  return splitters.reduce(
    (outer, inner) => (text, start, end, emit) => {
      outer(text, start, end, (piece, from, to) => inner(piece, from, to, emit));
    },
    splitNothing,
  );
}
