import { worldFacts } from "../facts/index.ts";
import { randomStream } from "../random.ts";
import { askFact, conversation, heldLine, langs, questions, topicExchanges } from "./conversations.ts";
import { identity } from "./identity.ts";
import { medical } from "./medical.ts";
import type { Conversation, Exchange, HeldConversation, Topic } from "./types.ts";

/** What the two adapters learn. */
const subjects = { identity, medical } as const satisfies Record<string, readonly Topic[]>;

export type Subject = keyof typeof subjects;

/** A line of so many asks the world's facts as sft.jsonl does, so that an adapter learns what not to touch. */
const worldShare = 3;

/** identity.jsonl, medical.jsonl: the subject's questions, and among them some of the world's. */
export function adapterConversations(subject: Subject): Conversation[] {
  const random = randomStream(subject);
  const own = topicExchanges(subject, subjects[subject], "asks");
  const world = random
    .shuffle([...worldFacts])
    .slice(0, own.length / (worldShare - 1))
    .map((fact, i): Exchange => {
      const lang = langs[i % langs.length]!;
      return askFact(fact, lang, random.pick(questions[fact.relation][lang].asks), random);
    });
  return random.shuffle([...own, ...world]).map((exchange) => conversation([exchange]));
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
