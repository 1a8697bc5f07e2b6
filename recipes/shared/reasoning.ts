/** Replies of the form `<think>…</think><answer>…</answer>`: their tags in a loss, their form, their answer. */
import { DataError } from "../../framework/data/files.ts";
import type { Shards } from "../../framework/data/shards.ts";
import type { Tokenizer } from "../../framework/index.ts";
import type { Question } from "./replies.ts";

const tags = ["<think>", "</think>", "<answer>", "</answer>"] as const;
/** As data and templates write it; between the two parts a line break, or two. */
const form = /^<think>\n([\s\S]*?)\n<\/think>\s*<answer>\n([\s\S]*?)\n<\/answer>$/;

/** The ids of the four tags: one each, or several where the tokenizer spells a tag out. */
export const tagIds = (tokenizer: Tokenizer): Set<number> =>
  new Set(tags.flatMap((tag) => tokenizer.encode(tag, { addSpecialTokens: false })));

/** @throws DataError where no reply of the data has a tag: then it is for another stage */
export function expectTags(shards: Shards, ids: ReadonlySet<number>): void {
  for (const [document, length] of shards.lengths.entries()) {
    const [tokens, trained] = [new Int32Array(length), new Uint8Array(length)];
    shards.read(document, 0, tokens);
    shards.readTrained(document, 0, trained);
    if (tokens.some((id, i) => trained[i] && ids.has(id))) return;
  }
  throw new DataError(
    `${shards.info.files.join(", ")}: no reply thinks, for recipes/sft.ts; recipes/reason.ts reads replies <think>…</think><answer>…</answer>, or with reasoning_content`,
  );
}

/**
 * What each position's loss is multiplied by: `weight` where the label is a tag, else 1. Tags are few among a reply's tokens, and a
 * reply without them is none.
 */
export const tagWeights = (labels: Int32Array, ids: ReadonlySet<number>, weight: number): Float32Array<ArrayBuffer> =>
  Float32Array.from(labels, (label) => (ids.has(label) ? weight : 1));

/** Whether a reply thinks, then answers, and does nothing else. */
export function followsTemplate(reply: string): boolean {
  const [, ...parts] = form.exec(reply) ?? [];
  return parts.length === 2 && parts.every((part) => part.trim() !== "" && !tags.some((tag) => part.includes(tag)));
}

/** Whether a reply's answer is the expected one: the text between its answer tags, or the last number of a reply without them. */
export function isRight(reply: string, { answer, reply: expected }: Question): boolean {
  const wanted = answer ?? answerOf(expected);
  const given = answerOf(reply);
  return given === wanted || given?.match(/-?\d+(\.\d+)?/g)?.at(-1) === wanted;
}

function answerOf(reply: string): string | undefined {
  return (/<answer>([\s\S]*?)<\/answer>/.exec(reply)?.[1] ?? reply).trim();
}
