import type { Fact } from "./facts/index.ts";
import type { Lang } from "./facts/types.ts";
import type { Random } from "./random.ts";
import type { Wording } from "./wordings/types.ts";
import { vocabulary } from "./wordings/vocabulary.ts";

/** A fact in words: a sentence, or a question and its reply in `tell`. */
export interface Sentence {
  readonly fact: Fact;
  readonly lang: Lang;
  readonly ask?: string;
  readonly tell: string;
}

/** English sentences begin with a capital; Chinese ones and digits stay as they are. */
const capitalized = (text: string) => text.replace(/^[a-z]/, (letter) => letter.toUpperCase());

/** Words for the places of templates: each vocabulary word is drawn once and stays, so that the lines of a talk agree. */
export function drawWords(lang: Lang, random: Random): Record<string, string> {
  const words: Record<string, string> = {};
  for (const [place, choices] of Object.entries(vocabulary[lang])) words[place] = random.pick(choices);
  return words;
}

/**
 * Puts words into the `{places}` of a template.
 * @throws Error where a place has no word
 */
export const fill = (template: string, words: Readonly<Record<string, string>>): string =>
  template.replace(/\{(\w+)\}/g, (_, place: string) => {
    const word = words[place];
    if (word === undefined) {
      throw new Error(`corpus: "${template}" takes {${place}}, known are {${Object.keys(words).join("}, {")}}`);
    }
    return word;
  });

/** The words that a fact gives to its templates. */
const factWords = (fact: Fact, lang: Lang): Record<string, string> => ({
  s: fact.subject[lang],
  o: fact.object[lang],
  ...(fact.terms && { a: String(fact.terms[0]), b: String(fact.terms[1]) }),
});

/** Puts a fact into words. `random` chooses the vocabulary words of wordings that tell a little story. */
export function phrase(fact: Fact, lang: Lang, wording: Wording, random: Random): Sentence {
  const words = { ...drawWords(lang, random), ...factWords(fact, lang) };
  const put = (template: string) => capitalized(fill(template, words));
  return "ask" in wording
    ? { fact, lang, ask: put(wording.ask), tell: put(wording.reply) }
    : { fact, lang, tell: put(wording.say) };
}

/** Joins sentences as the language does: Chinese without a space, English with one. */
export const join = (lang: Lang, parts: readonly string[]): string => parts.join(lang === "zh" ? "" : " ");

/** How one line of a talk or of a list of questions is written: "小明：你好！", "Tom: Hello!". */
export const spoken = (lang: Lang, speaker: string, line: string): string =>
  lang === "zh" ? `${speaker}：${line}` : `${speaker}: ${line}`;
