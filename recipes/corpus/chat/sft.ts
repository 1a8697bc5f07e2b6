import { arithmeticFacts, type Fact, worldFacts } from "../facts/index.ts";
import type { Lang } from "../facts/types.ts";
import { type Random, randomStream } from "../random.ts";
import { askFact, deal, heldFacts, langs, questions, topicExchanges } from "./conversations.ts";
import { askProblem, directReply, problems } from "./problems.ts";
import { smallTalk } from "./smalltalk.ts";
import { framed, framedFacts, inTone } from "./tones.ts";
import type { Conversation, Exchange, HeldConversation } from "./types.ts";

/** In how many of its relation's wordings a fact is asked, each language on its own. */
const wordingsPerFact = { world: 4, arithmetic: 2 };

/** Problems of two-digit numbers, answered at once; heldArithmetic: tasks that the held-out file asks. */
const [directProblems, heldArithmetic] = [240, 30];

/** What may stand before a question. */
const prefixes: Readonly<Record<Lang, readonly string[]>> = {
  zh: ["你好，", "请问，", "老师，", "我想知道，", "我想问一下，"],
  en: ["Hello! ", "Please help me. ", "Quick question: ", "I want to know: ", "Can you help me? "],
};

/** A fact in some of its training wordings, one question of four with words before it. */
const askOften = (fact: Fact, count: number, random: Random): Exchange[] =>
  langs.flatMap((lang) =>
    random
      .shuffle([...questions[fact.relation][lang].asks])
      .slice(0, count)
      .map((template) => {
        const exchange = askFact(fact, lang, template, random);
        return random.int(4) === 0 ? { ...exchange, ask: random.pick(prefixes[lang]) + exchange.ask } : exchange;
      }),
  );

/** Half of the facts that may be framed: half of the replies courteous, half curt. */
function tonedExchanges(random: Random): Exchange[] {
  const half = Math.floor(framedFacts.train.length / 2);
  return langs.flatMap((lang) =>
    random
      .shuffle([...framedFacts.train])
      .slice(0, half)
      .map((fact, i) => {
        const exchange = framed(fact, lang, random);
        return { ...exchange, reply: inTone(exchange.reply, i % 2 === 0 ? "courteous" : "curt", lang, random) };
      }),
  );
}

function problemExchanges(random: Random): Exchange[] {
  return random
    .shuffle(problems("train", 3 * directProblems))
    .slice(0, directProblems)
    .map((problem, i) => {
      const lang = langs[i % langs.length]!;
      const reply = directReply(problem, lang);
      return { lang, ask: askProblem(problem, lang, random), reply, fact: `problem:${reply}` };
    });
}

/** sft.jsonl: every fact in many wordings with one reply, arithmetic, small talk; one to three questions a conversation. */
export function sftConversations(): Conversation[] {
  const random = randomStream("sft");
  const talk = topicExchanges("talk", smallTalk, "asks");
  const conversations = deal(
    [
      ...worldFacts.flatMap((fact) => askOften(fact, wordingsPerFact.world, random)),
      ...arithmeticFacts.flatMap((fact) => askOften(fact, wordingsPerFact.arithmetic, random)),
      ...problemExchanges(random),
      ...tonedExchanges(random),
      ...[talk, talk].flat(), // twice, in different company
    ],
    random,
  );
  const lines = new Map(conversations.map((line) => [JSON.stringify(line), line]));
  return random.shuffle([...lines.values()]);
}

/** sft.heldout.jsonl: all facts of the world and some arithmetic, in wordings that no training file uses. */
export function sftHeldout(): HeldConversation[] {
  const random = randomStream("sft.heldout");
  return heldFacts([...worldFacts, ...random.shuffle([...arithmeticFacts]).slice(0, heldArithmetic)], random);
}
