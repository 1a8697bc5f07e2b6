/**
 * Asks a trained model and shows its replies, token by token, and how fast it is.
 *   bun recipes/eval.ts                                           out/pretrain continues the seven openings
 *   bun recipes/eval.ts --mode sft                                out/sft answers nine questions (--mode 1 is the same)
 *   bun recipes/eval.ts --run out/sft 你好 "What is the capital of France?"
 *   bun recipes/eval.ts --run out/sft --interactive --history 3
 *   bun recipes/eval.ts --compare out/sft out/dpo --output sft-dpo.md      side by side; out/sft+identity is out/sft with an adapter
 *   bun recipes/eval.ts --facts                                   how many of the corpus' facts it knows in wordings it never read
 */
import { existsSync } from "node:fs";
import process from "node:process";
import { createInterface } from "node:readline";
import { init } from "../framework/index.ts";
import { type Config, ConfigError, configure, count, key, main } from "../framework/run/index.ts";
import type { ChatMessage } from "../framework/text/chat.ts";
import { useAdapter } from "./shared/adapters.ts";
import { continueFacts, questionFacts } from "./shared/askFacts.ts";
import { type Base, openBase } from "./shared/base.ts";
import { beside, columnWidth } from "./shared/columns.ts";
import { type Mode, modeOf, modeOfRun, modes, modeWords, trainedLength } from "./shared/modes.ts";
import { chatPrompt, openingIds, samplingKeys, samplingText, speedText, streamReply } from "./shared/replyStream.ts";
import { ReplyView } from "./shared/replyView.ts";
import { type Answer, type Exchange, OwnFiles, transcriptText } from "./shared/transcript.ts";

const schema = {
  mode: key(null, "how to ask and what; by itself what the run is (pretrain where there is no run either)", {
    type: "text",
    choices: modeWords,
  }),
  run: key("", "run folder or Hugging Face folder; empty: the mode's, such as out/sft"),
  compare: key([], "several folders, whose replies are shown side by side; out/sft+identity: with an adapter"),
  lora: key("", "adapter: a folder in out/lora, or a path"),
  interactive: key(false, "read questions from the keyboard"),
  history: count(0, "questions before, with their replies, that a chat model is reminded of", 0),
  system: key("", "what a chat model is told before the question"),
  thinking: key(false, "replies begin inside <think>"),
  output: key("", "Markdown file for questions, replies, settings and speed"),
  facts: key(
    false,
    "ask the shipped corpus' held-out questions, in wordings that training never sees, and count the right answers",
  ),
  ...samplingKeys,
};

type Options = Config<typeof schema>;

/** A model that is asked, and what it was asked before. */
interface Asked extends Base {
  run: string;
  mode: Mode;
  history: ChatMessage[];
  /** Tokens that a conversation may take before its oldest turns are forgotten. */
  context: number;
}

const color = process.stdout.isTTY === true && !process.env.NO_COLOR;
const bold = (text: string) => (color ? `\x1b[1m${text}\x1b[22m` : text);
const toTerminal = { write: (text: string) => process.stdout.write(text), color };

await main(async () => {
  const config = configure("eval", schema, {
    about: `Asks a trained model. Modes: ${modes.map(({ name, run }, number) => `${number} or ${name} (${run})`).join(", ")}.`,
    presets: "",
    words: "questions, or texts to continue; the mode's own where there are none",
    examples: [
      "bun recipes/eval.ts",
      "bun recipes/eval.ts --mode sft --output sft.md",
      'bun recipes/eval.ts --run out/pretrain "The capital of France"',
      "bun recipes/eval.ts --run out/sft --interactive --history 3",
      "bun recipes/eval.ts --compare out/sft out/dpo 推荐一些长沙的特色美食吧。",
      "bun recipes/eval.ts --compare out/sft out/sft+identity 你是谁？",
    ],
  });
  const { runs, questions, mode } = plan(config);
  const files = new OwnFiles();
  if (config.output) files.check(config.output);
  await init({ verbose: true });
  const asked: Asked[] = [];
  for (const run of runs) asked.push(await open(run, mode, config));
  if (config.facts) {
    for (const one of asked) {
      if (asked.length > 1) console.log(`\n${one.run}`);
      if (one.mode.chat) await questionFacts(one, one.mode.heldOut, config);
      else await continueFacts(one);
    }
    return;
  }
  const exchanges: Exchange[] = [];
  const head = asked.map((one) => `${one.run}: ${one.mode.name}, ${one.model.numParameters()} parameters`);
  console.log(head.join("\n"));
  const settings = [...head, samplingText(config), ...(config.lora ? [`adapter: ${config.lora}`] : [])];
  if (config.system) settings.push(`system: ${config.system}`);
  for await (const question of config.interactive ? typed() : questions.length ? questions : asked[0].mode.questions) {
    const answers: Answer[] = [];
    const together = asked.length > 1;
    const shown = config.interactive && process.stdin.isTTY; // as it was typed
    if (!shown && (together || asked[0].mode.chat)) console.log(`\n${bold(question)}`);
    const width = process.stdout.isTTY ? columnWidth(asked.length, process.stdout.columns) : undefined;
    if (width) answers.push(...(await askBeside(asked, question, config, width)));
    else
      for (const one of asked) {
        if (together) process.stdout.write(`\n${bold(`${one.run}: `)}`);
        else if (!one.mode.chat) process.stdout.write("\n");
        answers.push(await ask(one, question, config));
      }
    exchanges.push({ question, answers });
    if (config.output) files.write(config.output, transcriptText(runs.join(", "), settings, exchanges));
  }
  if (config.output) console.log(`\nwrote ${config.output}`);
});

/** Which folders are asked what. */
function plan(config: Options): { runs: string[]; questions: string[]; mode: Mode | undefined } {
  const mode = config.mode === null ? undefined : modeOf(config.mode);
  if (config.compare.length === 0)
    return { runs: [config.run || (mode ?? modes[0]).run], questions: config.words, mode };
  // A flag takes one word: the folders behind the first come as words, among the questions.
  const isFolder = (word: string) => existsSync(withAdapter(word).folder) || /^(\.{0,2}|out)[/\\]\S+$/.test(word);
  const runs = [...(config.run ? [config.run] : []), ...config.compare, ...config.words.filter(isFolder)];
  if (runs.length < 2)
    throw new ConfigError(
      `--compare: is ${runs.join(" ")} alone, expected two folders or more: --compare out/a out/b, or with an adapter: out/a out/a+name`,
    );
  return { runs, questions: config.words.filter((word) => !isFolder(word)), mode };
}

/** `out/sft+identity` is the folder out/sft with the adapter identity. */
function withAdapter(run: string): { folder: string; adapter?: string } {
  const at = run.lastIndexOf("+");
  return at < 1 || existsSync(run) ? { folder: run } : { folder: run.slice(0, at), adapter: run.slice(at + 1) };
}

async function open(run: string, given: Mode | undefined, config: Options): Promise<Asked> {
  const { folder, adapter = config.lora } = withAdapter(run);
  const known = given ?? modeOfRun(folder);
  const base = await openBase(folder, {
    flag: config.compare.length ? "--compare" : "--run",
    chat: known?.chat ?? false,
    precision: config.precision,
  });
  const mode = known ?? modeOf(base.tokenizer.chatTemplate === undefined ? "pretrain" : "sft");
  const chatOnly = (["history", "system", "thinking"] as const).find((name) => config[name]);
  if (chatOnly && !mode.chat)
    throw new ConfigError(`--${chatOnly}: ${run} is asked as ${mode.name}, which continues texts and knows no turns`);
  if (adapter) await useAdapter(base, adapter);
  return {
    ...base,
    run,
    mode,
    history: [],
    context: trainedLength(folder) ?? base.model.config.max_position_embeddings,
  };
}

/** Replies side by side, once all are there. */
async function askBeside(all: readonly Asked[], question: string, config: Options, width: number): Promise<Answer[]> {
  const [answers, shown]: [Answer[], string[]] = [[], []];
  for (const one of all) {
    process.stdout.write(`${one.run} …`);
    let text = "";
    answers.push(await ask(one, question, config, { write: (piece) => (text += piece), color: false }));
    shown.push(text.trimEnd());
    process.stdout.write("\r\x1b[K");
  }
  const runs = all.map(({ run }) => run);
  console.log(`\n${bold(beside(runs, width))}\n${beside(shown, width)}`);
  return answers;
}

/** Writes a reply as it comes, behind the text that it continues, and its speed. */
async function ask(
  asked: Asked,
  question: string,
  config: Options,
  { write, color }: { write(text: string): unknown; color: boolean } = toTerminal,
): Promise<Answer> {
  const { model, tokenizer, mode, run } = asked;
  if (!mode.chat) write(question);
  const { ids, thinking } = mode.chat
    ? prompt(asked, question, config)
    : { ids: openingIds(tokenizer, question), thinking: false };
  const view = new ReplyView(write, { color, thinking });
  const reply = await streamReply(model, tokenizer, ids, config, (text) => view.push(text));
  view.end();
  const text = thinking ? `<think>\n${reply.text}` : reply.text;
  asked.history.push({ role: "user", content: question }, { role: "assistant", content: text });
  const figures = speedText(reply);
  write(`\n  [${figures}]\n`);
  return { model: run, text, figures };
}

/** The question in the chat template, behind as many turns as are kept and fit a row of the model's training. */
function prompt({ model, tokenizer, history, context }: Asked, question: string, config: Options) {
  const { system, history: turns, thinking: openThinking } = config;
  const messages: ChatMessage[] = [
    ...(system ? [{ role: "system" as const, content: system }] : []),
    ...(turns ? history.slice(-2 * turns) : []),
    { role: "user", content: question },
  ];
  const { max_position_embeddings: most } = model.config;
  return chatPrompt(tokenizer, messages, {
    context: Math.min(context, most),
    most,
    maxNewTokens: config.maxNewTokens,
    openThinking,
  });
}

/** Lines from the keyboard until Ctrl-D or an empty line. */
async function* typed(): AsyncGenerator<string> {
  const lines = createInterface({ input: process.stdin });
  process.stdout.write("\n> ");
  for await (const line of lines) {
    if (line.trim() === "") break;
    yield line;
    process.stdout.write("\n> ");
  }
  lines.close();
}
