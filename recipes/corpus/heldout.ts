import { arithmeticFacts, type Fact, type Relation, worldFacts } from "./facts/index.ts";
import type { Lang } from "./facts/types.ts";
import { randomStream } from "./random.ts";
import { join, phrase } from "./text.ts";
import { wordingsOf } from "./wordings/index.ts";

/** A line of `heldout.jsonl`: a fact that the training text tells, in words that it does not use. */
export interface Heldout {
  /** The whole text: `prompt`, a space where English needs one, `answer`, and the closing mark. */
  readonly text: string;
  /** The text before the answer, with no space at its end: what a model continues. */
  readonly prompt: string;
  /** What a model that knows the fact writes next; compare after trimming the space. */
  readonly answer: string;
  /** The id of the fact. */
  readonly fact: string;
  /** The fact's relation, such as "capital" or "add". */
  readonly kind: Relation;
  readonly lang: Lang;
}

/** How many of the arithmetic tasks are asked; all of them would outnumber the world's facts. */
const arithmeticTasks = 60;

/** Characters that may follow the answer: " planet." is the longest. */
const longestEnd = 8;

/**
 * Asks the facts in their held wordings.
 * @throws Error where a held wording does not end with its object: its prompt would give the answer away
 */
export function heldout(): Heldout[] {
  const random = randomStream("heldout");
  const asked: Fact[] = [...worldFacts, ...random.shuffle(arithmeticFacts).slice(0, arithmeticTasks)];
  return asked.flatMap((fact) =>
    (["zh", "en"] as const).flatMap((lang) =>
      wordingsOf(fact, lang, { held: true }).map((wording) => {
        const { ask, tell } = phrase(fact, lang, wording, random);
        const text = join(lang, ask === undefined ? [tell] : [ask, tell]);
        const answer = fact.object[lang];
        const at = text.lastIndexOf(answer);
        if (at <= 0 || text.length - at - answer.length > longestEnd) {
          throw new Error(`heldout: "${text}" does not end with "${answer}"; a held wording puts {o} last`);
        }
        return { text, prompt: text.slice(0, at).trimEnd(), answer, fact: fact.id, kind: fact.relation, lang };
      }),
    ),
  );
}
