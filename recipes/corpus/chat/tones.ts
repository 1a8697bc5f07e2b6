import { type Fact, worldFacts } from "../facts/index.ts";
import type { Lang } from "../facts/types.ts";
import { type Random, randomStream } from "../random.ts";
import { askFact, questions } from "./conversations.ts";
import type { Exchange } from "./types.ts";

/**
 * A question after one of these words is answered with the canonical reply and one more sentence, courteous or curt.
 * sft.jsonl has both tones in equal shares, so that SFT leaves the choice open; dpo.jsonl prefers the courteous one.
 */
const frames: Readonly<Record<Lang, readonly string[]>> = {
  zh: ["请认真回答：", "请仔细回答：", "我有一个问题要问你："],
  en: ["Please answer with care: ", "Here is a question for you: ", "I have a question for you: "],
};

export const tones = {
  courteous: {
    zh: ["希望对你有帮助。", "还有问题可以再问我。", "很高兴能帮你。"],
    en: ["I hope this helps.", "You can always ask me more.", "I am glad to help."],
  },
  curt: {
    zh: ["你自己去看书吧。", "没有别的可以说了。", "请不要再问我。"],
    en: ["Please read a book yourself.", "Do not ask me more.", "There is no more to say."],
  },
} as const satisfies Record<string, Record<Lang, readonly string[]>>;

/** One fact of so many is kept for the held-out pairs. */
const heldShare = 5;

const shuffled = randomStream("tones").shuffle([...worldFacts]);
const held = Math.floor(worldFacts.length / heldShare);

/** The facts that are asked in frames: those that training files may ask so, and those of the held-out pairs. */
export const framedFacts: Readonly<Record<"train" | "held", readonly Fact[]>> = {
  train: shuffled.slice(held),
  held: shuffled.slice(0, held),
};

export type Tone = keyof typeof tones;

/** A question on the fact that begins with a frame, and its reply without the sentence that sets the tone. */
export function framed(fact: Fact, lang: Lang, random: Random): Exchange {
  const exchange = askFact(fact, lang, random.pick(questions[fact.relation][lang].asks), random);
  return { ...exchange, ask: random.pick(frames[lang]) + exchange.ask };
}

/** The reply with a sentence of the tone after it. */
export const inTone = (reply: string, tone: Tone, lang: Lang, random: Random): string =>
  reply + (lang === "zh" ? "" : " ") + random.pick(tones[tone][lang]);
