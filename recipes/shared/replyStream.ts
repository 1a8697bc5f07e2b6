/** One reply at a time, written out as it comes: what chat and eval share. */
import { MicroMindError } from "../../framework/device/errors.ts";
import { type CausalLM, optim, type Tokenizer } from "../../framework/index.ts";
import type { KVCache } from "../../framework/model/cache.ts";
import { count, key } from "../../framework/run/index.ts";
import type { ChatMessage } from "../../framework/text/chat.ts";
import { promptIds } from "./replies.ts";

/** How replies are made; keys of a recipe's config. */
export const samplingKeys = {
  maxNewTokens: count(128, "tokens of a reply at most"),
  temperature: key(0.7, "0 takes the likeliest token always", { min: 0 }),
  topK: count(0, "draw among the k likeliest; 0: all", 0),
  topP: key(0.9, "draw among the likeliest that make up this share", { min: 0.01, max: 1 }),
  repetitionPenalty: key(1, "above 1 makes tokens that occurred less likely", { min: 0.01 }),
  seed: key(1, "of the draws", { whole: true, min: 0 }),
  precision: key("f32", "f16: computes in half precision, faster where one reply is made at a time", {
    choices: optim.precisions,
  }),
};

export type Sampling = { [K in keyof typeof samplingKeys]: (typeof samplingKeys)[K]["default"] };

/** Sampling in words, for a transcript. */
export function samplingText(sampling: Sampling): string {
  const { maxNewTokens, temperature, topK, topP, repetitionPenalty, seed, precision } = sampling;
  const penalty = repetitionPenalty === 1 ? "" : `, repetition penalty ${repetitionPenalty}`;
  const draws = temperature === 0 ? "greedy" : `temperature ${temperature}, topK ${topK}, topP ${topP}, seed ${seed}`;
  return `${draws}${penalty}, at most ${maxNewTokens} tokens${precision === "f16" ? ", in f16" : ""}`;
}

export interface Reply {
  /** What the model wrote, tags included, without the token that ended it. */
  text: string;
  ids: number[];
  /** Tokens of the prompt, and how many of them a cache held already. */
  prompt: number;
  kept: number;
  /** To the first token, and from there to the last, in ms. */
  waited: number;
  spoke: number;
  /** Why it ended: by itself, for want of room, or because it was told to. */
  end: "stop" | "length" | "interrupted";
}

export interface ReplyOptions extends Sampling {
  /** Holds the prompt's first tokens; see {@link Speaker}. */
  cache?: KVCache;
  /** Asked after each token. */
  interrupted?: () => boolean;
}

/** Tokens that end a reply, whichever of them a checkpoint of another house has. */
export function stopTokens(tokenizer: Tokenizer): number[] {
  const names = ["<|im_end|>", "<|eot_id|>", "<|endoftext|>"];
  const ids = [tokenizer.eosTokenId, ...names.map((name) => tokenizer.tokenToId(name))];
  return [...new Set(ids.filter((id) => id !== undefined))];
}

/** A text's tokens, as documents begin in training. */
export function openingIds(tokenizer: Tokenizer, text: string): number[] {
  const { bosTokenId: bos } = tokenizer;
  return [...(bos === undefined ? [] : [bos]), ...tokenizer.encode(text, { addSpecialTokens: false })];
}

/** Continues a prompt; `write` gets the text piece by piece, whole characters only. @throws MicroMindError as `generate` */
export async function streamReply(
  model: CausalLM,
  tokenizer: Tokenizer,
  prompt: readonly number[],
  { interrupted, cache, ...options }: ReplyOptions,
  write: (text: string) => void,
): Promise<Reply> {
  const stream = tokenizer.decodeStream({ skipSpecialTokens: true });
  const most = Math.min(
    options.maxNewTokens,
    (cache?.capacity ?? model.config.max_position_embeddings) - prompt.length + 1,
  );
  const reply: Reply = {
    text: "",
    ids: [],
    prompt: prompt.length,
    kept: cache?.length ?? 0,
    waited: 0,
    spoke: 0,
    end: "stop",
  };
  const add = (text: string) => {
    reply.text += text;
    write(text);
  };
  const start = performance.now();
  let [first, last] = [0, 0];
  for await (const id of model.generate(prompt, { ...options, cache, stop: stopTokens(tokenizer) })) {
    last = performance.now();
    first ||= last;
    reply.ids.push(id);
    add(stream.push(id));
    if (!interrupted?.()) continue;
    reply.end = "interrupted";
    break;
  }
  add(stream.end());
  if (reply.end === "stop" && reply.ids.length === most) reply.end = "length";
  reply.waited = (first || performance.now()) - start;
  reply.spoke = last - first;
  return reply;
}

const rate = (tokens: number, ms: number) => `${((tokens / ms) * 1000).toFixed(0)} tokens/s`;

/** `23 tokens (cut off), 512 tokens/s; prompt of 45 (30 kept) in 12 ms, 1250 tokens/s` */
export function speedText({ ids, prompt, kept, waited, spoke, end }: Reply): string {
  const decode = ids.length > 1 ? `, ${rate(ids.length - 1, spoke)}` : "";
  const why = end === "stop" ? "" : end === "length" ? " (cut off)" : " (interrupted)";
  const held = kept > 0 ? ` (${kept} kept)` : "";
  return `${ids.length} tokens${why}${decode}; prompt of ${prompt}${held} in ${waited.toFixed(0)} ms, ${rate(prompt - kept, waited)}`;
}

/** Speaks in one conversation: keys and values of what was said stay, and only what a prompt has beyond them is computed. */
export class Speaker {
  readonly #cache: KVCache;
  #held: number[] = [];

  /** @param context tokens of prompt and reply at most */
  constructor(
    readonly model: CausalLM,
    readonly tokenizer: Tokenizer,
    context: number,
  ) {
    this.#cache = model.newCache(1, context);
  }

  /** Tokens of prompt and reply at most: what was asked for, or the model's own limit where that is less. */
  get context(): number {
    return this.#cache.capacity;
  }

  async reply(prompt: readonly number[], options: ReplyOptions, write: (text: string) => void): Promise<Reply> {
    const differs = prompt.findIndex((id, at) => id !== this.#held[at]);
    const kept = differs < 0 ? prompt.length - 1 : differs;
    this.#held = [];
    this.#cache.truncate(kept);
    const reply = await streamReply(this.model, this.tokenizer, prompt, { ...options, cache: this.#cache }, write);
    this.#held = [...prompt, ...reply.ids.slice(0, -1)]; // the last token was picked, but may not have gone through the model
    return reply;
  }

  /** Weights have changed: what is held is of no use. */
  forget(): void {
    this.#held = [];
  }
}

export interface ChatPrompt {
  ids: number[];
  /** The conversation that it stands for: the oldest turns may be gone. */
  messages: ChatMessage[];
  /** Whether the reply begins inside `<think>`. */
  thinking: boolean;
}

export interface ChatPromptOptions {
  /** Tokens of prompt and reply at most; a question that is longer by itself may fill `most`. */
  context: number;
  /** What the model takes, where that is more (default: the context). */
  most?: number;
  maxNewTokens: number;
  openThinking: boolean;
  tools?: readonly unknown[];
}

/**
 * A conversation as a prompt for its next reply. Turns from the oldest on are left out until the reply has room, `maxNewTokens` or half
 * of the context; the last question may take more than that.
 * @throws MicroMindError where the last question alone fills the context; ChatError where the tokenizer's template refuses it
 */
export function chatPrompt(
  tokenizer: Tokenizer,
  conversation: readonly ChatMessage[],
  { context, most = context, maxNewTokens, openThinking, tools = [] }: ChatPromptOptions,
): ChatPrompt {
  const room = context - Math.min(maxNewTokens, Math.floor(context / 2));
  for (let messages = [...conversation]; ; ) {
    const ids = promptIds(tokenizer, { messages, tools: [...tools] }, openThinking);
    const system = messages[0].role === "system" ? 1 : 0;
    const next = messages.findIndex(({ role }, at) => at > system && role === "user");
    if (ids.length <= room || (next < 0 && ids.length < most))
      return { ids, messages, thinking: /<think>\s*$/.test(tokenizer.decode(ids.slice(-8))) };
    if (next < 0)
      throw new MicroMindError(
        `the question${system || tools.length ? " with system prompt and tools" : ""} takes ${ids.length} tokens, which fill the context of ${most}; shorten it`,
      );
    messages = [...messages.slice(0, system), ...messages.slice(next)];
  }
}
