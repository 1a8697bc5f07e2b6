/**
 * A chat with a trained model, in the terminal or by lines from a pipe.
 *   bun recipes/chat.ts                                     the chat model that was trained last
 *   bun recipes/chat.ts --run out/sft --lora identity       with an adapter from out/lora
 *   echo 你好 | bun recipes/chat.ts --run out/sft
 */
import { readFileSync } from "node:fs";
import process from "node:process";
import { createInterface } from "node:readline";
import { DeviceLostError, MicroMindError } from "../framework/device/errors.ts";
import { init } from "../framework/index.ts";
import type { LoraAdapter } from "../framework/model/lora.ts";
import { type Config, ConfigError, configure, count, key, main } from "../framework/run/index.ts";
import { nearest } from "../framework/run/schema.ts";
import type { ChatMessage } from "../framework/text/chat.ts";
import { adapterNames, baseOf, useAdapter } from "./shared/adapters.ts";
import { type Base, openBase } from "./shared/base.ts";
import { newestChatRun, recipeOf, trainedLength } from "./shared/modes.ts";
import { chatPrompt, Speaker, samplingKeys, samplingText, speedText } from "./shared/replyStream.ts";
import { ReplyView } from "./shared/replyView.ts";
import { type Exchange, OwnFiles, transcriptText } from "./shared/transcript.ts";

const schema = {
  run: key(
    "",
    "run folder or Hugging Face folder; empty: the adapter's base, or the newest of out/sft, out/dpo, out/distill, out/reason, …",
  ),
  lora: key("", "adapter to start with: a folder in out/lora, or a path"),
  system: key("", "what the model is told before the conversation"),
  tools: key("", "JSON file with a list of the functions that the model may call; you give their results with /tool"),
  thinking: key(false, "replies begin inside <think>"),
  context: key(
    null,
    "tokens of conversation and reply at most (default: a row of the run's training; 2048 elsewhere)",
    {
      type: "number",
      min: 16,
      whole: true,
    },
  ),
  ...samplingKeys,
  maxNewTokens: count(512, "tokens of a reply at most"),
};

const terminal = process.stdin.isTTY === true && process.stdout.isTTY === true;
const color = process.stdout.isTTY === true && !process.env.NO_COLOR;
const dim = (text: string) => (color ? `\x1b[2m${text}\x1b[22m` : text);
const say = (text: string) => console.log(dim(text));

/** A conversation, and what its commands change. */
class Chat {
  readonly speaker: Speaker;
  readonly #files = new OwnFiles();
  readonly #tools: readonly unknown[];
  #adapter: { name: string; lora: LoraAdapter } | undefined;
  #messages: ChatMessage[] = [];
  #exchanges: Exchange[] = [];
  #replies = 0;
  #speaking = false;
  #interrupted = false;

  constructor(
    readonly run: string,
    readonly base: Base,
    readonly config: Config<typeof schema>,
  ) {
    this.#tools = config.tools ? readTools(config.tools) : [];
    this.speaker = new Speaker(base.model, base.tokenizer, config.context ?? trainedLength(run) ?? 2048);
  }

  /** Answers a line or obeys it. What goes wrong is told, and ends nothing but a lost device. @returns false to leave */
  async take(line: string): Promise<boolean> {
    try {
      if (!line.startsWith("/")) await this.answer("user", line);
      else return await this.#obey(line);
    } catch (error) {
      if (!(error instanceof MicroMindError) || error instanceof DeviceLostError) throw error;
      console.log(`error: ${error.message}`);
      if (!terminal) process.exitCode = 1;
    }
    return true;
  }

  /** Ends the reply that is being given. @returns false where there is none, or this was asked before */
  interrupt(): boolean {
    const first = this.#speaking && !this.#interrupted;
    this.#interrupted = true;
    return first;
  }

  /** Says something to the model, or gives it a tool's result, and writes its reply. */
  async answer(role: "user" | "tool", question: string): Promise<void> {
    const { config, base, speaker } = this;
    const { system, thinking: openThinking } = config;
    const asked: ChatMessage[] = [...this.#messages, { role, content: question }];
    const told: ChatMessage[] = system ? [{ role: "system", content: system }] : [];
    const options = { ...config, context: speaker.context, openThinking, tools: this.#tools };
    const { ids, messages, thinking } = chatPrompt(base.tokenizer, [...told, ...asked], options);
    const turns = messages.slice(told.length);
    const dropped = asked.length - turns.length;
    if (dropped > 0) say(`(the context is full: the oldest ${dropped} messages are forgotten)`);

    const view = new ReplyView((text) => process.stdout.write(text), { color, thinking });
    [this.#speaking, this.#interrupted] = [true, false];
    const sampling = { ...config, seed: config.seed + this.#replies++, interrupted: () => this.#interrupted };
    const reply = await speaker
      .reply(ids, sampling, (text) => view.push(text))
      .finally(() => {
        view.end();
        this.#speaking = false;
        process.stdout.write("\n");
      });
    const text = thinking ? `<think>\n${reply.text}` : reply.text;
    this.#messages = [...turns, { role: "assistant", content: text }];
    const figures = speedText(reply);
    say(`  [${figures}]`);
    const settings = `temperature ${config.temperature}${this.#adapter ? `, adapter ${this.#adapter.name}` : ""}`;
    this.#exchanges.push({ question, answers: [{ model: this.run, text, figures: `${figures}; ${settings}` }] });
  }

  async #obey(line: string): Promise<boolean> {
    const [name, argument] = [line.slice(1).split(/\s/)[0], line.slice(1).replace(/^\S*\s*/, "")];
    if (name === "quit" || name === "exit") return false;
    if (!Object.hasOwn(commands, name)) {
      const near = nearest(name, Object.keys(commands));
      throw new MicroMindError(`there is no /${name}${near ? `, did you mean /${near}?` : "; /help lists commands"}`);
    }
    const said = await commands[name].act(this, argument);
    if (said) say(said);
    return true;
  }

  reset(): string {
    this.#messages = [];
    this.#exchanges = [];
    return "a new conversation";
  }

  async setAdapter(name: string): Promise<string> {
    if (name === "")
      return `adapter ${this.#adapter?.name ?? "off"}; out/lora holds ${adapterNames().join(", ") || "none"}`;
    const old = this.#adapter;
    old?.lora.remove(); // one adapter at a time; it goes back where the new one cannot be had
    try {
      this.#adapter = name === "off" ? undefined : { name, lora: await useAdapter(this.base, name) };
    } catch (error) {
      old?.lora.merge();
      throw error;
    }
    old?.lora.dispose();
    this.speaker.forget();
    return `adapter ${name}`;
  }

  save(file: string): string {
    if (this.#exchanges.length === 0) throw new MicroMindError("/save: nothing has been said yet");
    const { config, run } = this;
    const settings = [samplingText(config), ...(config.system ? [`system: ${config.system}`] : [])];
    this.#files.write(file, transcriptText(`Chat with ${run}`, settings, this.#exchanges));
    return `saved ${file}`;
  }
}

/** @throws ConfigError where the file is not a JSON list */
function readTools(file: string): readonly unknown[] {
  try {
    const tools: unknown = JSON.parse(readFileSync(file, "utf8"));
    if (Array.isArray(tools)) return tools;
    throw new Error("it holds no list");
  } catch (error) {
    throw new ConfigError(`--tools: ${file}: ${(error as Error).message}; expected a JSON list of functions`);
  }
}

interface Command {
  takes: string;
  help: string;
  /** @returns what is to be said about it, if anything */
  act(chat: Chat, argument: string): string | undefined | Promise<string | undefined>;
}

const commands: Record<string, Command> = {
  reset: { takes: "", help: "a new conversation; settings stay", act: (chat) => chat.reset() },
  system: {
    takes: "text|off",
    help: "what the model is told before the conversation",
    act({ config }, text) {
      if (text) config.system = text === "off" ? "" : text;
      return `system ${config.system || "off"}`;
    },
  },
  temperature: {
    takes: "x",
    help: "0 takes the likeliest token always",
    act({ config }, text) {
      if (text && !(Number(text) >= 0 && Number(text) < Infinity))
        throw new MicroMindError(`/temperature: is ${JSON.stringify(text)}, expected a number, 0 or more`);
      if (text) config.temperature = Number(text);
      return `temperature ${config.temperature}`;
    },
  },
  adapter: { takes: "name|off", help: "an adapter of out/lora, or a path", act: (chat, name) => chat.setAdapter(name) },
  thinking: {
    takes: "on|off",
    help: "replies begin inside <think>",
    act({ config }, text) {
      if (!["", "on", "off"].includes(text))
        throw new MicroMindError(`/thinking: is ${JSON.stringify(text)}, expected on or off`);
      if (text) config.thinking = text === "on";
      return `thinking ${config.thinking ? "on" : "off"}`;
    },
  },
  tool: {
    takes: "result",
    help: "what a tool that the model called gave back",
    async act(chat, result) {
      await chat.answer("tool", result);
      return undefined;
    },
  },
  save: { takes: "file", help: "the conversation as Markdown", act: (chat, file) => chat.save(file) },
  help: {
    takes: "",
    help: "this list",
    act: () =>
      Object.entries(commands)
        .map(([name, { takes, help }]) => `  ${`/${name} ${takes}`.padEnd(20)}${help}`)
        .concat(`  ${"/quit".padEnd(20)}leaves, as Ctrl-D does; Ctrl-C ends a reply, and leaves at the prompt`)
        .join("\n"),
  },
};

await main(async () => {
  const config = configure("chat", schema, {
    about: "Talks with a trained model.",
    presets: "",
    examples: [
      "bun recipes/chat.ts",
      "bun recipes/chat.ts --run out/sft --lora identity",
      "echo 你好 | bun recipes/chat.ts --temperature 0",
    ],
  });
  const run = config.run || baseOf(config.lora) || newestChatRun();
  await init({ verbose: true });
  const base = await openBase(run, { flag: "--run", precision: config.precision });
  const chat = new Chat(run, base, config);
  await chat.setAdapter(config.lora || "off");
  say(
    `${run}: ${base.model.numParameters()} parameters, context of ${chat.speaker.context} tokens; /help lists commands`,
  );
  if (recipeOf(run) === "pretrain")
    say("It was only pretrained, and continues text rather than answers: bun recipes/sft.ts makes a chat model of it.");

  const lines = createInterface({
    input: process.stdin,
    ...(terminal ? { output: process.stdout, prompt: "> " } : {}),
  });
  const interrupt = () => {
    if (chat.interrupt()) return;
    lines.close();
    process.stdout.write("\n");
    process.exit(130);
  };
  lines.on("SIGINT", interrupt); // a terminal's Ctrl-C comes as a key while lines are edited
  process.on("SIGINT", interrupt);
  if (terminal) lines.prompt();
  for await (const line of lines) {
    if (!terminal && line.trim()) console.log(`> ${line}`);
    if (line.trim() && !(await chat.take(line.trim()))) return;
    if (terminal) lines.prompt();
  }
  if (terminal) console.log(); // Ctrl-D left the cursor behind the prompt
});
