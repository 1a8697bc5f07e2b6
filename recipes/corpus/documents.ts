import { arithmeticFacts, type Fact, worldFacts } from "./facts/index.ts";
import type { Lang } from "./facts/types.ts";
import { passages } from "./passages.ts";
import { openings } from "./prompts.ts";
import { type Random, randomStream } from "./random.ts";
import { drawWords, fill, join, phrase, type Sentence, spoken } from "./text.ts";
import { dialogues } from "./wordings/dialogues.ts";
import { wordingsOf } from "./wordings/index.ts";

const langs: readonly Lang[] = ["zh", "en"];

/** A document of facts goes on until it has so many characters, then stops at a chance length of 1 to 4 facts. */
const shortest = 20;
const mostFacts = 4;

/** Who asks and who replies where a document is a list of questions. */
const askers: Readonly<Record<Lang, readonly (readonly [string, string])[]>> = {
  zh: [
    ["问", "答"],
    ["学生", "老师"],
  ],
  en: [
    ["Question", "Answer"],
    ["Student", "Teacher"],
  ],
};

/** Writes sentences of one language as a document; questions alone become a list or a talk two times out of three. */
function write(sentences: readonly Sentence[], random: Random): string {
  const lang = sentences[0]!.lang;
  if (sentences.every(({ ask }) => ask !== undefined) && random.int(3) > 0) {
    const [asker, replier] = random.pick(askers[lang]);
    return sentences.flatMap(({ ask, tell }) => [spoken(lang, asker, ask!), spoken(lang, replier, tell)]).join("\n");
  }
  return join(
    lang,
    sentences.flatMap(({ ask, tell }) => (ask === undefined ? [tell] : [ask, tell])),
  );
}

const lengthOf = (sentences: readonly Sentence[]) =>
  sentences.reduce((sum, { ask = "", tell }) => sum + ask.length + tell.length, 0);

/** Sentences with the same key may share a document. */
type Key = (sentence: Sentence) => string;

/**
 * Sorts sentences into heaps by `key` and cuts each heap into documents that name no fact twice: a fact is to be known,
 * not copied from the line above. What is left of a heap and too short for a document comes back as `rest`.
 */
function compose(sentences: readonly Sentence[], key: Key, random: Random) {
  const heaps = new Map<string, Sentence[]>();
  for (const sentence of random.shuffle(sentences)) {
    const heap = heaps.get(key(sentence));
    if (heap) heap.push(sentence);
    else heaps.set(key(sentence), [sentence]);
  }
  const documents: string[] = [];
  const rest: Sentence[] = [];
  for (let heap of heaps.values()) {
    while (heap.length > 0) {
      const wanted = 1 + random.int(mostFacts);
      const taken: Sentence[] = [];
      const left: Sentence[] = [];
      for (const sentence of heap) {
        const open = taken.length < wanted || lengthOf(taken) < shortest;
        if (open && !taken.some(({ fact }) => fact.id === sentence.fact.id)) taken.push(sentence);
        else left.push(sentence);
      }
      if (lengthOf(taken) < shortest) rest.push(...taken);
      else documents.push(write(taken, random));
      heap = left;
    }
  }
  return { documents, rest };
}

/** Each fact in each of its training wordings and both languages. */
const tell = (facts: readonly Fact[], random: Random): Sentence[] =>
  facts.flatMap((fact) =>
    langs.flatMap((lang) =>
      wordingsOf(fact, lang, { held: false }).map((wording) => phrase(fact, lang, wording, random)),
    ),
  );

/** Composes by the first key, what is left by the next, and writes what the last one leaves, however short. */
function composeAll(sentences: readonly Sentence[], keys: readonly Key[], random: Random): string[] {
  const [key, ...others] = keys;
  if (key === undefined) return sentences.map((sentence) => write([sentence], random));
  const { documents, rest } = compose(sentences, key, random);
  return [...documents, ...composeAll(rest, others, random)];
}

const byForm: Key = ({ fact, lang, ask }) => `${fact.relation} ${lang} ${ask === undefined}`;
const bySubject: Key = ({ fact, lang }) => `${fact.subject.zh} ${lang}`;
const byRelation: Key = ({ fact, lang }) => `${fact.relation} ${lang}`;
const byArea: Key = ({ fact, lang }) => `${fact.area} ${lang}`;

/** The world's facts, all wordings twice: once among facts of the same kind, once among facts of the same subject. */
export function factDocuments(): string[] {
  const random = randomStream("facts");
  const alike = composeAll(tell(worldFacts, random), [byForm, byRelation, byArea], random);
  const about = composeAll(tell(worldFacts, random), [bySubject, byRelation, byArea], random);
  return [...alike, ...about];
}

/** Arithmetic: every task in every training wording, tasks of one operation together. */
export function arithmeticDocuments(): string[] {
  const random = randomStream("arithmetic");
  return composeAll(tell(arithmeticFacts, random), [byRelation, byArea], random);
}

/** Draws until `count` different texts have come up, or no new one for a long while. */
function distinct(count: number, draw: () => string): string[] {
  const texts = new Set<string>();
  for (let tries = 0; texts.size < count && tries < 20 * count; tries++) texts.add(draw());
  return [...texts];
}

/** Everyday talks between two people with different names. */
export function dialogueDocuments(perTalk = 10): string[] {
  const random = randomStream("dialogues");
  return langs.flatMap((lang) =>
    dialogues[lang].flatMap((lines) =>
      distinct(perTalk, () => {
        const words = drawWords(lang, random);
        const A = words.name!;
        let B = drawWords(lang, random).name!;
        while (B === A) B = drawWords(lang, random).name!;
        return lines
          .map((line, turn) => spoken(lang, turn % 2 === 0 ? A : B, fill(line, { ...words, A, B })))
          .join("\n");
      }),
    ),
  );
}

/** Passages on the seven openings: two of three begin with the opening itself, one with other words. */
export function openingDocuments(perOpening = 60): string[] {
  const random = randomStream("openings");
  return openings.flatMap((opening) => {
    const { endings, rephrased, more } = passages[opening]!;
    const draw = (first: readonly string[]) => {
      const chosen = new Set(random.shuffle(more).slice(0, random.int(4)));
      return random.pick(first) + more.filter((sentence) => chosen.has(sentence)).join("");
    };
    const begun = endings.map((ending) => opening + ending);
    const third = Math.round(perOpening / 3);
    return [...distinct(perOpening - third, () => draw(begun)), ...distinct(third, () => draw(rephrased))];
  });
}
