import { geography } from "../facts/geography.ts";
import { life } from "../facts/life.ts";
import type { Lang } from "../facts/types.ts";
import { type Random, randomStream } from "../random.ts";
import { assistant, langs, user } from "./conversations.ts";
import { directReply, problems, termOf } from "./problems.ts";
import type { Conversation, HeldConversation, Message } from "./types.ts";

/** A task that one tool solves: what the user asks, the call, what the tool replies, and what the assistant makes of it. */
interface Task {
  readonly ask: string;
  readonly arguments: Readonly<Record<string, string | number>>;
  readonly result: Readonly<Record<string, string | number>>;
  readonly reply: string;
  /** What matters in the reply. */
  readonly answer: string;
}

interface Tool {
  readonly description: string;
  readonly parameters: readonly string[];
  /** Draws a task. */
  readonly task: (lang: Lang, random: Random) => Task;
}

const say = (lang: Lang, zh: string, en: string) => (lang === "zh" ? zh : en);

const weathers = [
  ["晴天", "sunny"],
  ["阴天", "cloudy"],
  ["下雨", "rainy"],
  ["刮风", "windy"],
] as const;

/** Unit, in Chinese and in English, the smaller one that it is made of, and how many. */
const units = [
  ["米", "metre", "厘米", "centimetre", 100],
  ["千米", "kilometre", "米", "metre", 1000],
  ["千克", "kilogram", "克", "gram", 1000],
  ["小时", "hour", "分钟", "minute", 60],
  ["分钟", "minute", "秒", "second", 60],
  ["年", "year", "个月", "month", 12],
] as const;

const tools: Readonly<Record<string, Tool>> = {
  calculate: {
    description: "Computes an expression",
    parameters: ["expression"],
    task: (lang, random) => {
      const problem = random.pick(sums);
      const term = termOf(problem);
      return {
        ask: random.pick(
          lang === "zh"
            ? [`请用工具计算${term}。`, `帮我算一下${term}。`, `用计算器算${term}。`]
            : [`Please compute ${term} with a tool.`, `Calculate ${term} for me.`, `Use the calculator: ${term}.`],
        ),
        arguments: { expression: term },
        result: { result: problem.result },
        reply: directReply(problem, lang),
        answer: String(problem.result),
      };
    },
  },
  weather: {
    description: "Weather of a city",
    parameters: ["city"],
    task: (lang, random) => {
      const [, , zh, en] = random.pick([...geography.capital, ...geography.province]);
      const city = say(lang, zh, en);
      const sky = random.pick(weathers)[lang === "zh" ? 0 : 1];
      const degrees = 1 + random.int(35);
      return {
        ask: random.pick(
          lang === "zh"
            ? [`${city}今天天气怎么样？`, `帮我查一下${city}的天气。`, `今天${city}的天气好吗？`]
            : [`How is the weather in ${city}?`, `Look up the weather in ${city}.`, `Is it nice in ${city} today?`],
        ),
        arguments: { city },
        result: { sky, degrees },
        reply: say(lang, `${city}今天${sky}，${degrees}度。`, `It is ${sky} in ${city}, ${degrees} degrees.`),
        answer: `${degrees}`,
      };
    },
  },
  convert: {
    description: "Converts units",
    parameters: ["value", "from", "to"],
    task: (lang, random) => {
      const unit = random.pick(units);
      const value = 2 + random.int(28);
      const [from, to] = lang === "zh" ? [unit[0], unit[2]] : [`${unit[1]}s`, `${unit[3]}s`];
      const result = value * unit[4];
      return {
        ask: random.pick(
          lang === "zh"
            ? [`${value}${from}是多少${to}？`, `把${value}${from}换成${to}。`, `${value}${from}等于多少${to}？`]
            : [
                `How many ${to} are ${value} ${from}?`,
                `Convert ${value} ${from} to ${to}.`,
                `${value} ${from} in ${to}?`,
              ],
        ),
        arguments: { value, from, to },
        result: { result },
        reply: say(lang, `${value}${from}等于${result}${to}。`, `${value} ${from} are ${result} ${to}.`),
        answer: String(result),
      };
    },
  },
  translate: {
    description: "Translates a word",
    parameters: ["text", "to"],
    task: (lang, random) => {
      const [zh, , en] = random.pick(life.word);
      return {
        ask: random.pick(
          lang === "zh"
            ? [`把“${zh}”翻译成英语。`, `用工具翻译“${zh}”。`, `帮我翻译“${zh}”。`]
            : [`Translate "${zh}" into English.`, `Please translate "${zh}".`, `Use a tool to translate "${zh}".`],
        ),
        arguments: { text: zh, to: "en" },
        result: { text: en },
        reply: say(lang, `“${zh}”的英语是“${en}”。`, `"${zh}" is "${en}" in English.`),
        answer: en,
      };
    },
  },
};

/** Numbers for the calculator: not those that reason.heldout.jsonl asks. */
const sums = problems("train", 1200);

/** What a system message offers: a name and a JSON schema of what it takes. */
const signature = (name: string) => {
  const { description, parameters } = tools[name]!;
  const type = (parameter: string) => ({ type: parameter === "value" ? "number" : "string" });
  const properties = Object.fromEntries(parameters.map((parameter) => [parameter, type(parameter)]));
  return { name, description, parameters: { type: "object", properties } };
};

interface Dialogue {
  readonly name: string;
  readonly lang: Lang;
  readonly task: Task;
  readonly messages: readonly Message[];
}

/** A talk in which one of the offered tools is called. Some offer a second tool, which must not be called. */
function dialogue(name: string, lang: Lang, random: Random): Dialogue {
  const task = tools[name]!.task(lang, random);
  const others = Object.keys(tools).filter((other) => other !== name);
  const offered = random.int(3) === 0 ? random.shuffle([name, random.pick(others)]) : [name];
  return {
    name,
    lang,
    task,
    messages: [
      { role: "system", content: "", tools: JSON.stringify(offered.map(signature)) },
      user(task.ask),
      { ...assistant(""), tool_calls: JSON.stringify([{ name, arguments: task.arguments }]) },
      { role: "tool", content: JSON.stringify(task.result) },
      assistant(task.reply),
    ],
  };
}

const [trained, heldOut] = [50, 8];

/** All dialogues, no question twice: of each tool and language the first so many are held out, the others train. */
const dialogues = (split: "train" | "held"): Dialogue[] =>
  Object.keys(tools).flatMap((name) =>
    langs.flatMap((lang) => {
      const random = randomStream(`tools ${name} ${lang}`);
      const drawn = new Map<string, Dialogue>();
      for (let tries = 0; tries < 1000 && drawn.size < heldOut + trained; tries++) {
        const one = dialogue(name, lang, random);
        if (!drawn.has(one.task.ask)) drawn.set(one.task.ask, one);
      }
      return split === "held" ? [...drawn.values()].slice(0, heldOut) : [...drawn.values()].slice(heldOut);
    }),
  );

/** tools.jsonl: a tool is offered, called, replies, and the assistant says what came of it. */
export const toolConversations = (): Conversation[] =>
  randomStream("tools").shuffle(dialogues("train").map(({ messages }) => ({ conversations: messages })));

/** tools.heldout.jsonl: other questions for the same tools. */
export const toolHeldout = (): HeldConversation[] =>
  dialogues("held").map(({ name, lang, task, messages }) => ({
    conversations: messages,
    answer: task.answer,
    fact: `${name}:${JSON.stringify(task.arguments)}`,
    kind: name,
    lang,
  }));
