import { worldFacts } from "../facts/index.ts";
import type { Lang } from "../facts/types.ts";
import { randomStream } from "../random.ts";
import { askFact, conversation, heldLine, langs, questions, roughTokens, topicExchanges } from "./conversations.ts";
import { identity } from "./identity.ts";
import { medical } from "./medical.ts";
import type { Conversation, Exchange, HeldConversation, Topic } from "./types.ts";

/** What the two adapters learn. */
const subjects = { identity, medical } as const satisfies Record<string, readonly Topic[]>;

export type Subject = keyof typeof subjects;

/** A line of so many asks the world's facts as sft.jsonl does, so that an adapter learns what not to touch. */
const worldShare = 3;

/** In a line of so many another question comes first, so that an adapter answers within a conversation too. */
const chatShare = 3;

/** Tokens, roughly, that such a line has at most. */
const longest = 100;

/** Words before a question that change nothing of its reply. */
const openers: Readonly<Record<Lang, readonly string[]>> = {
  zh: ["你好！", "打扰一下，", "我很好奇，", "请告诉我：", "我想知道，"],
  en: ["Hello! ", "Excuse me. ", "One more thing. ", "Please tell me: ", "I would like to know: "],
};

/** identity.jsonl, medical.jsonl: the subject's questions as they are and after an opener, and among them some of the world's. */
export function adapterConversations(subject: Subject): Conversation[] {
  const random = randomStream(subject);
  const plain = topicExchanges(subject, subjects[subject], "asks");
  const opened = plain.map((exchange) => ({ ...exchange, ask: random.pick(openers[exchange.lang]) + exchange.ask }));
  const own = [...plain, ...opened];
  const world = random
    .shuffle([...worldFacts])
    .slice(0, own.length / (worldShare - 1))
    .map((fact, i): Exchange => {
      const lang = langs[i % langs.length]!;
      return askFact(fact, lang, random.pick(questions[fact.relation][lang].asks), random);
    });
  const all = random.shuffle([...own, ...world]);
  return all.map((exchange, i) => {
    if (i % chatShare) return conversation([exchange]);
    const before = all.filter(({ lang, reply }) => lang === exchange.lang && reply !== exchange.reply);
    const both = [random.pick(before), exchange];
    return conversation(roughTokens(both) > longest ? [exchange] : both);
  });
}

/** identity.heldout.jsonl, medical.heldout.jsonl: the subject's questions in other words. */
export function adapterHeldout(subject: Subject): HeldConversation[] {
  const answers = new Map(
    subjects[subject].flatMap((topic) => langs.map((lang) => [topic[lang].reply, topic[lang].answer] as const)),
  );
  return topicExchanges(subject, subjects[subject], "held").map((exchange) =>
    heldLine(exchange, answers.get(exchange.reply) ?? exchange.reply),
  );
}
