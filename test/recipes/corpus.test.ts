import { describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { facts, type Relation } from "../../recipes/corpus/facts/index.ts";
import { corpusFiles } from "../../recipes/corpus/generate.ts";
import type { Heldout } from "../../recipes/corpus/heldout.ts";
import { passages } from "../../recipes/corpus/passages.ts";
import { openings } from "../../recipes/corpus/prompts.ts";
import { randomStream } from "../../recipes/corpus/random.ts";
import { fill, phrase } from "../../recipes/corpus/text.ts";
import { wordings, wordingsOf } from "../../recipes/corpus/wordings/index.ts";

const folder = join(import.meta.dirname, "../../recipes/corpus");
const bytesOf = (name: string) => readFileSync(join(folder, name));
/** The committed file's rows; throws where the bytes are no UTF-8 or a line is no JSON. */
const rowsOf = <Row>(name: string): Row[] =>
  new TextDecoder("utf-8", { fatal: true })
    .decode(bytesOf(name))
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Row);

const documents = rowsOf<{ text: string }>("pretrain.jsonl").map(({ text }) => text);
const held = rowsOf<Heldout>("heldout.jsonl");
const everything = documents.join("\n\n");
const factById = new Map(facts.map((fact) => [fact.id, fact]));

describe("the fact base", () => {
  test("every fact has an id of its own", () => expect(factById.size).toBe(facts.length));

  test("no subject of a relation has two objects", () => {
    for (const lang of ["zh", "en"] as const) {
      const keys = facts.map(({ relation, subject }) => `${relation} ${subject[lang]}`);
      expect(keys.filter((key, i) => keys.indexOf(key) !== i)).toEqual([]);
    }
  });

  test("where a wording asks back from the object, one subject alone has that object", () => {
    for (const [relation, byLang] of Object.entries(wordings)) {
      for (const lang of ["zh", "en"] as const) {
        if (!byLang[lang].some((wording) => "ask" in wording && !/\{[sa]\}/.test(wording.ask))) continue;
        const objects = facts.filter((fact) => fact.relation === relation).map(({ object }) => object[lang]);
        expect(objects.filter((object, i) => objects.indexOf(object) !== i)).toEqual([]);
      }
    }
  });

  test("every relation has training wordings and a held one in both languages", () => {
    for (const relation of Object.keys(wordings) as Relation[]) {
      for (const lang of ["zh", "en"] as const) {
        const fact = facts.find((candidate) => candidate.relation === relation)!;
        expect(wordingsOf(fact, lang, { held: false }).length).toBeGreaterThanOrEqual(3);
        expect(wordingsOf(fact, lang, { held: true }).length).toBeGreaterThanOrEqual(1);
      }
    }
  });
});

describe("the committed files", () => {
  test("are, byte for byte, what the generator writes", () => {
    for (const [name, text] of Object.entries(corpusFiles()))
      expect(Buffer.from(text).equals(bytesOf(name))).toBe(true);
  });

  test("hold rows with the stated keys and no text that is empty or untrimmed", () => {
    for (const row of rowsOf<object>("pretrain.jsonl")) expect(Object.keys(row)).toEqual(["text"]);
    for (const row of held) expect(Object.keys(row)).toEqual(["text", "prompt", "answer", "fact", "kind", "lang"]);
    for (const text of [...documents, ...held.map((row) => row.text)]) {
      expect(text).toBe(text.trim());
      expect(text.length).toBeGreaterThanOrEqual(6);
      expect(text).not.toMatch(/[{}\ufffd]|undefined| {2}/);
    }
  });

  test("have the stated size: 300 to 600 KB, documents of many lengths", () => {
    expect(bytesOf("pretrain.jsonl").length).toBeGreaterThan(300_000);
    expect(bytesOf("pretrain.jsonl").length).toBeLessThan(600_000);
    const lengths = documents.map((text) => text.length).sort((a, b) => a - b);
    expect(lengths[Math.floor(lengths.length * 0.1)]!).toBeLessThan(40);
    expect(lengths[Math.floor(lengths.length * 0.9)]!).toBeGreaterThan(90);
    expect(lengths.at(-1)!).toBeLessThan(600);
  });

  test("have hardly a document under 20 characters: at most 10, left over from composing", () =>
    expect(documents.filter((text) => text.length < 20).length).toBeLessThanOrEqual(10));

  test("repeat no document", () => expect(new Set(documents).size).toBe(documents.length));

  test("speak Chinese and English, each at least a third of the documents", () => {
    const chinese = documents.filter((text) => /[。？！]/.test(text)).length;
    expect(chinese).toBeGreaterThan(documents.length / 3);
    expect(documents.length - chinese).toBeGreaterThan(documents.length / 3);
  });
});

describe("the held-out file", () => {
  test("shares no text and no prompt with the training text", () => {
    expect(held.filter(({ text }) => everything.includes(text))).toEqual([]);
    expect(held.filter(({ prompt }) => everything.includes(prompt))).toEqual([]);
  });

  test("asks only facts that the training text tells in other words, in the same language", () => {
    const random = randomStream("test");
    for (const { fact: id, lang } of held) {
      const fact = factById.get(id)!;
      const plain = wordingsOf(fact, lang, { held: false }).filter(
        (wording) => "say" in wording && !wording.say.includes("{name}"),
      );
      expect(plain.length).toBeGreaterThan(0);
      const told = plain.map((wording) => phrase(fact, lang, wording, random).tell);
      expect(told.filter((sentence) => !everything.includes(sentence))).toEqual([]);
    }
  });

  test("asks every fact that is not arithmetic, in both languages", () => {
    for (const lang of ["zh", "en"] as const) {
      const asked = new Set(held.filter((row) => row.lang === lang).map(({ fact }) => fact));
      for (const { id, area } of facts) if (area !== "arithmetic") expect(asked.has(id)).toBe(true);
    }
  });

  test("splits each text into a prompt, the fact's object and a closing mark", () => {
    for (const { text, prompt, answer, fact, lang } of held) {
      expect(answer).toBe(factById.get(fact)!.object[lang]);
      expect(text.slice(prompt.length).trimStart().startsWith(answer)).toBe(true);
      expect(prompt).toBe(prompt.trimEnd());
    }
  });

  test("cannot hold a template's empty place: filling one is an error that names it", () => {
    expect(() => fill("{s}在{nowhere}。", { s: "故宫" })).toThrow("takes {nowhere}, known are {s}");
  });
});

describe("the seven openings", () => {
  test("each have a passage, and nothing else has", () => {
    expect(openings.length).toBe(7);
    expect(Object.keys(passages).sort()).toEqual([...openings].sort());
  });

  for (const opening of openings) {
    test(`"${opening}" begins 30 documents or more, with several endings`, () => {
      const begun = documents.filter((text) => text.startsWith(opening));
      expect(begun.length).toBeGreaterThanOrEqual(30);
      for (const ending of passages[opening]!.endings) {
        expect(begun.filter((text) => text.startsWith(opening + ending)).length).toBeGreaterThanOrEqual(2);
      }
    });
  }

  test("and their passages are 12% to 20% of the text", () => {
    const firsts = Object.entries(passages).flatMap(([opening, { endings, rephrased }]) => [
      ...endings.map((ending) => opening + ending),
      ...rephrased,
    ]);
    const about = documents.filter((text) => firsts.some((first) => text.startsWith(first)));
    const share = Buffer.byteLength(about.join("")) / Buffer.byteLength(documents.join(""));
    expect(share).toBeGreaterThan(0.12);
    expect(share).toBeLessThan(0.2);
  });
});

describe("arithmetic", () => {
  const compute: Record<string, (a: number, b: number) => number> = {
    "+": (a, b) => a + b,
    "-": (a, b) => a - b,
    "×": (a, b) => a * b,
    "÷": (a, b) => a / b,
  };
  const sign: Record<string, string> = { 加: "+", 减: "-", 乘以: "×", 除以: "÷" };
  const word: Record<string, string> = { plus: "+", minus: "-", times: "×", "divided by": "÷" };
  const forms: [name: string, form: RegExp, signs: Record<string, string>][] = [
    ["3+5=8", /(\d+)([-+×÷])(\d+)=(\d+)/g, { "+": "+", "-": "-", "×": "×", "÷": "÷" }],
    ["3加5等于8", /(\d+)(加|减|乘以|除以)(\d+)等于(\d+)/g, sign],
    ["3 plus 5 is 8", /(\d+) (plus|minus|times|divided by) (\d+) is (\d+)/g, word],
    ["请问3加5是多少？等于8", /(\d+)(加|减|乘以|除以)(\d+)是多少？等于(\d+)/g, sign],
    ["How much is 3 plus 5? It is 8", /(\d+) (plus|minus|times|divided by) (\d+)\? It is (\d+)/g, word],
  ];
  const all = everything + held.map(({ text }) => text).join("\n");
  for (const [name, form, signs] of forms) {
    test(`is right wherever it is written as "${name}"`, () => {
      const found = [...all.matchAll(form)];
      expect(found.length).toBeGreaterThanOrEqual(60);
      for (const [, a, operation, b, result] of found) {
        expect(compute[signs[operation!]!]!(Number(a), Number(b))).toBe(Number(result));
      }
    });
  }
});

describe("the random stream", () => {
  test("is the same for the same name and another for another", () => {
    const draw = (name: string) =>
      Array.from(
        { length: 8 },
        (
          (random) => () =>
            random.int(1000)
        )(randomStream(name)),
      );
    expect(draw("a")).toEqual(draw("a"));
    expect(draw("a")).not.toEqual(draw("b"));
  });

  test("draws evenly, shuffles without loss and refuses to choose from nothing", () => {
    const random = randomStream("even");
    const counts = new Array<number>(10).fill(0);
    for (let i = 0; i < 10_000; i++) counts[random.int(10)]!++;
    for (const count of counts) expect(Math.abs(count - 1000)).toBeLessThan(150);
    expect(random.shuffle([3, 1, 2]).sort()).toEqual([1, 2, 3]);
    expect(() => random.pick([])).toThrow("0 things to choose from, expected 1 or more");
  });
});

describe("the command", () => {
  const run = (...flags: string[]) => {
    const { exitCode, stdout, stderr } = Bun.spawnSync([process.execPath, join(folder, "generate.ts"), ...flags]);
    return { exitCode, out: stdout.toString(), err: stderr.toString() };
  };

  test("writes to --out what --check then accepts, and --check refuses a changed file without mending it", () => {
    const out = mkdtempSync(join(tmpdir(), "corpus-"));
    try {
      expect(run("--check", "--out", out).exitCode).toBe(1);
      expect(run("--out", out).exitCode).toBe(0);
      expect(run("--check", "--out", out).exitCode).toBe(0);
      Bun.spawnSync(["truncate", "-s", "100", join(out, "heldout.jsonl")]);
      const checked = run("--check", "--out", out);
      expect(checked.exitCode).toBe(1);
      expect(checked.err).toContain("heldout.jsonl: not what the generator writes");
      expect(readFileSync(join(out, "heldout.jsonl")).length).toBe(100);
    } finally {
      rmSync(out, { recursive: true });
    }
  });

  test("refuses an unknown flag by name", () => {
    const refused = run("--outt", "x");
    expect(refused.exitCode).toBe(1);
    expect(refused.err).toContain("'--outt'");
  });
});
