/** Questions to a model in batches, greedily, and how many replies are right. */
import { parseConversation } from "../../framework/data/conversations.ts";
import { documents, parseLine } from "../../framework/data/documents.ts";
import { DataError, resolveFiles } from "../../framework/data/files.ts";
import type { CausalLM, Tokenizer } from "../../framework/index.ts";
import { ChatError, type ChatMessage } from "../../framework/text/chat.ts";
import { encodeChat } from "../../framework/text/encodeChat.ts";
import type { Base } from "./base.ts";

/** A conversation up to the reply, and the reply that is expected. */
export interface Question {
  messages: ChatMessage[];
  tools: unknown[];
  reply: string;
  /** The short answer, where the file gives one. */
  answer?: string;
  kind?: string;
}

export interface AskOptions {
  maxNewTokens?: number;
  /** Questions that the model works on together (default 32). */
  together?: number;
  /** Draws replies rather than taking the likeliest (default 0). */
  temperature?: number;
  seed?: number;
  openThinking?: boolean;
  /** Called with the number of questions answered so far. */
  onProgress?: (done: number) => void;
}

/**
 * The conversations of a held-out file, each without its last message, which is the reply that is expected.
 * @param path none where it is empty
 * @param base the model that they are for
 * @throws DataError as `parseConversation` does, and where a conversation does not end with a reply, or leaves the model no room for one
 */
export async function readQuestions(path: string, base: Base): Promise<Question[]> {
  const questions: Question[] = [];
  if (path === "") return questions;
  for await (const { text, file, line } of documents(resolveFiles(path), { stage: "conversations" })) {
    const where = `${file}:${line}`;
    const value = parseLine(text, where, "conversations");
    const { conversation } = parseConversation(value, where);
    const messages = conversation.messages.slice(0, -1);
    const { content: reply, role } = conversation.messages.at(-1)!;
    if (role !== "assistant" || messages.length === 0)
      throw new DataError(`${where}: expected a conversation that ends with the assistant's reply`);
    const { answer, kind } = value as { answer?: unknown; kind?: string };
    if (!["string", "number", "undefined"].includes(typeof answer))
      throw new DataError(`${where}: "answer" is ${JSON.stringify(answer)}, expected a string or a number`);
    const question = { messages, tools: conversation.tools, reply, kind };
    expectRoom(base, question, where);
    questions.push(answer === undefined ? question : { ...question, answer: String(answer) });
  }
  return questions;
}

/** Said before a run begins, not when the question's turn comes. */
function expectRoom({ model, tokenizer }: Base, question: Question, where: string): void {
  const { max_position_embeddings: positions } = model.config;
  try {
    const { length } = promptIds(tokenizer, question);
    if (length >= positions)
      throw new DataError(
        `${where}: the ${length} tokens before the reply leave no room for one in the model's ${positions} positions; leave the line out, or shorten it`,
      );
  } catch (error) {
    throw error instanceof ChatError ? new DataError(`${where}: ${error.message}`) : error;
  }
}

/** The ids of a conversation up to where the assistant replies. Special tokens that a message only spells stay text. */
export const promptIds = (
  tokenizer: Tokenizer,
  { messages, tools }: Pick<Question, "messages" | "tools">,
  openThinking = false,
): number[] => [...encodeChat(tokenizer, messages, { tools, addGenerationPrompt: true, openThinking }).ids];

/** The model's reply to each question, without the end token; tags such as `<think>` stay. */
export async function askAll(
  model: CausalLM,
  tokenizer: Tokenizer,
  questions: readonly Question[],
  { maxNewTokens = 64, together = 32, temperature = 0, seed = 1, openThinking = false, onProgress }: AskOptions = {},
): Promise<string[]> {
  const replies: string[] = [];
  const stop = tokenizer.eosTokenId === undefined ? [] : [tokenizer.eosTokenId];
  for (let at = 0; at < questions.length; at += together) {
    const asked = questions.slice(at, at + together);
    const made: number[][] = asked.map(() => []);
    const prompts = asked.map((question) => promptIds(tokenizer, question, openThinking));
    for await (const { row, token } of model.generateBatch(prompts, {
      maxNewTokens,
      temperature,
      seed: seed + at,
      stop,
    }))
      made[row].push(token);
    replies.push(...made.map((ids) => tokenizer.decode(ids, { skipSpecialTokens: true }).trim()));
    onProgress?.(at + asked.length);
  }
  return replies;
}

/** Some questions, spread evenly over all, each with the model's reply: a run's samples. */
export async function replySamples(
  { model, tokenizer }: Base,
  questions: readonly Question[],
  { count, maxNewTokens }: { count: number; maxNewTokens: number },
): Promise<{ prompt: string; text: string }[]> {
  const shown = spread(questions, count);
  const replies = await askAll(model, tokenizer, shown, { maxNewTokens });
  return shown.map(({ messages }, i) => ({ prompt: messages.at(-1)!.content, text: replies[i] }));
}

/** The share of replies that are the expected ones, to the letter. */
export const exactMatch = (questions: readonly Question[], replies: readonly string[]): number =>
  questions.filter(({ reply }, i) => replies[i] === reply.trim()).length / Math.max(1, questions.length);

/** `count` of the items, spread evenly over all; 0 takes all. */
export function spread<T>(items: readonly T[], count: number): T[] {
  if (count <= 0 || count >= items.length) return [...items];
  return Array.from({ length: count }, (_, i) => items[Math.floor((i * items.length) / count)]);
}
