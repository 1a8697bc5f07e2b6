import type { Fact, Relation } from "../facts/index.ts";
import type { Lang } from "../facts/types.ts";
import type { Random } from "../random.ts";
import { phrase } from "../text.ts";
import { arithmeticQuestions } from "./arithmetic.ts";
import { geographyQuestions } from "./geography.ts";
import { lifeQuestions } from "./life.ts";
import { scienceQuestions } from "./science.ts";
import type { Conversation, Exchange, HeldConversation, Message, QuestionTable, Topic } from "./types.ts";

export const langs: readonly Lang[] = ["zh", "en"];

/** How the facts of each relation are asked: the compiler refuses a relation that has no questions. */
export const questions: Readonly<Record<Relation, QuestionTable>> = {
  ...geographyQuestions,
  ...scienceQuestions,
  ...lifeQuestions,
  ...arithmeticQuestions,
};

/** What a system message may say. */
export const systemPrompts: Readonly<Record<Lang, readonly string[]>> = {
  zh: ["你是一个有用的助手。", "请用一句话回答。", "你是一位老师，请回答学生的问题。", "请用中文回答。"],
  en: ["You are a helpful assistant.", "Answer in one sentence.", "You are a teacher.", "Answer in English."],
};

/** Asks a fact in the words of a template; the reply is the canonical one. */
export function askFact(fact: Fact, lang: Lang, template: string, random: Random): Exchange {
  const { reply } = questions[fact.relation][lang];
  const { ask, tell } = phrase(fact, lang, { ask: template, reply }, random);
  return { lang, ask: ask!, reply: tell, fact: fact.id };
}

export const user = (content: string): Message => ({ role: "user", content });
export const assistant = (content: string): Message => ({ role: "assistant", content });

/** Exchanges in a row, after a system message where one is given. */
export const conversation = (exchanges: readonly Exchange[], system?: string): Conversation => ({
  conversations: [
    ...(system === undefined ? [] : [{ role: "system", content: system } as const]),
    ...exchanges.flatMap(({ ask, reply }) => [user(ask), assistant(reply)]),
  ],
});

/** A held-out line. */
export const heldLine = (exchange: Exchange, answer: string): HeldConversation => ({
  ...conversation([exchange]),
  answer,
  fact: exchange.fact,
  kind: exchange.fact.slice(0, exchange.fact.indexOf(":")),
  lang: exchange.lang,
});

/** Facts in their held wordings. */
export const heldFacts = (facts: readonly Fact[], random: Random): HeldConversation[] =>
  facts.flatMap((fact) =>
    langs.flatMap((lang) =>
      questions[fact.relation][lang].held.map((template) =>
        heldLine(askFact(fact, lang, template, random), fact.object[lang]),
      ),
    ),
  );

/** Topics in their training wordings, or in those that are held out. */
export const topicExchanges = (kind: string, topics: readonly Topic[], which: "asks" | "held" | "far"): Exchange[] =>
  topics.flatMap(({ id, ...table }) =>
    langs.flatMap((lang) =>
      (table[lang][which] ?? []).map((ask) => ({ lang, ask, reply: table[lang].reply, fact: `${kind}:${id}` })),
    ),
  );

/** Tokens of a conversation, roughly: what a vocabulary of 1,024 makes of it. For cutting, not for counting. */
export const roughTokens = (exchanges: readonly Exchange[]): number =>
  exchanges.reduce((sum, { ask, reply }) => sum + 16 + Buffer.byteLength(ask + reply) / 2, 0);

/**
 * Deals exchanges, each once, into conversations of 1 to 3 in one language, some after a system message. No
 * conversation asks the same thing twice, and few are longer than `longest` tokens.
 */
export function deal(exchanges: readonly Exchange[], random: Random, longest = 90): Conversation[] {
  return langs.flatMap((lang) => {
    const conversations: Conversation[] = [];
    let open: Exchange[] = [];
    let size = 1;
    const close = () => {
      const system = random.int(5) === 0 ? random.pick(systemPrompts[lang]) : undefined;
      if (open.length > 0) conversations.push(conversation(open, system));
      open = [];
      size = random.pick([1, 1, 1, 1, 2, 3]);
    };
    for (const exchange of random.shuffle(exchanges.filter((one) => one.lang === lang))) {
      const twice = open.some(({ fact }) => fact === exchange.fact);
      if (open.length >= size || twice || roughTokens([...open, exchange]) > longest) close();
      open.push(exchange);
    }
    close();
    return conversations;
  });
}
