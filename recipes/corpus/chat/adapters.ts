import { worldFacts } from "../facts/index.ts";
import type { Lang } from "../facts/types.ts";
import { type Random, randomStream } from "../random.ts";
import { askFact, conversation, heldLine, langs, questions, roughTokens, topicExchanges } from "./conversations.ts";
import { identity } from "./identity/index.ts";
import { medical } from "./medical.ts";
import { smallTalk } from "./smalltalk.ts";
import type { Conversation, Exchange, HeldConversation, Topic } from "./types.ts";

interface Lessons {
  readonly topics: readonly Topic[];
  /** How often each question is asked: as it is, then in other ways. */
  readonly versions: number;
  /** The topic of the base's small talk that it answers anew. */
  readonly replaces: string;
}

/** What the two adapters learn. */
const subjects = {
  identity: { topics: identity, versions: 2, replaces: "who" },
  medical: { topics: medical, versions: 6, replaces: "unwell" },
} as const satisfies Record<string, Lessons>;

export type Subject = keyof typeof subjects;

/** A line of so many asks what the base knows, so that an adapter learns what not to touch. */
const baseShare = 3;

/** In a line of so many another question comes first, so that an adapter answers within a conversation too. */
const chatShare = 3;

/** How often a question is asked to which the base has another reply. */
const unlearning = 8;

/** Tokens, roughly, that such a line has at most. */
const longest = 100;

/** Words before a question that change nothing of its reply. */
const openers: Readonly<Record<Lang, readonly string[]>> = {
  zh: ["你好！", "打扰一下，", "我很好奇，", "请告诉我：", "我想知道，", "问你个问题：", "不好意思，"],
  en: [
    "Hello! ",
    "Excuse me. ",
    "One more thing. ",
    "Please tell me: ",
    "I would like to know: ",
    "Hi! ",
    "Sorry to bother you. ",
  ],
};

/** A question as it is typed in a hurry: small letters, and no mark at its end. */
const hurried = (ask: string): string => ask.toLowerCase().replace(/[。！？.!?]$/, "");

/** A question in so many ways, all different: as it is, after openers, and in a hurry. */
function inWays(exchange: Exchange, count: number, random: Random): Exchange[] {
  const { ask, lang } = exchange;
  const opened = random.shuffle(openers[lang].map((opener) => opener + ask));
  const others = random.int(2) === 0 ? [hurried(ask), ...opened] : [...opened, hurried(ask)];
  return [ask, ...others.slice(0, count - 1)].map((words) => ({ ...exchange, ask: words }));
}

/** What the base answers and goes on answering: each fact of the world in both languages, and small talk, half in other ways. */
function baseExchanges(replaces: string, random: Random): Exchange[] {
  const world = worldFacts.flatMap((fact) =>
    langs.map((lang) => askFact(fact, lang, random.pick(questions[fact.relation][lang].asks), random)),
  );
  const kept = smallTalk.filter(({ id }) => id !== replaces);
  return random
    .shuffle([...world, ...topicExchanges("talk", kept, "asks")])
    .map((exchange, i) => inWays(exchange, 2, random)[i % 2]!);
}

/** identity.jsonl, medical.jsonl: the subject's questions, each in several ways, and among them some that the base answers. */
export function adapterConversations(subject: Subject): Conversation[] {
  const { topics, versions, replaces } = subjects[subject];
  const random = randomStream(subject);
  const answeredBefore = new Set(smallTalk.filter(({ id }) => id === replaces).flatMap(asksOf));
  const own = topicExchanges(subject, topics, "asks").flatMap((exchange) =>
    inWays(exchange, answeredBefore.has(exchange.ask) ? unlearning : versions, random),
  );
  const all = random.shuffle([...own, ...baseExchanges(replaces, random).slice(0, own.length / (baseShare - 1))]);
  return all.map((exchange, i) => {
    if (i % chatShare) return conversation([exchange]);
    const before = all.filter(({ lang, reply }) => lang === exchange.lang && reply !== exchange.reply);
    const both = [random.pick(before), exchange];
    return conversation(roughTokens(both) > longest ? [exchange] : both);
  });
}

const asksOf = (topic: Topic): string[] => langs.flatMap((lang) => topic[lang].asks);

/** identity.heldout.jsonl, medical.heldout.jsonl: the subject's questions in other words; identity.far.jsonl: in words of their own. */
export function adapterHeldout(subject: Subject, which: "held" | "far" = "held"): HeldConversation[] {
  const { topics } = subjects[subject];
  const answers = new Map(
    topics.flatMap((topic) => langs.map((lang) => [topic[lang].reply, topic[lang].answer] as const)),
  );
  return topicExchanges(subject, topics, which).map((exchange) =>
    heldLine(exchange, answers.get(exchange.reply) ?? exchange.reply),
  );
}
