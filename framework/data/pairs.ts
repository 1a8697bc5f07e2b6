/** A line of preferences: two replies to one prompt. */
import type { ChatMessage } from "../text/chat.ts";
import { type Conversation, parseMessages } from "./conversations.ts";
import { wrongStage } from "./documents.ts";
import { DataError } from "./files.ts";

export interface Preference {
  chosen: Conversation;
  rejected: Conversation;
}

/**
 * The conversations of a line: `chosen` and `rejected` as lists of messages, or as the reply alone (a string or one message) to a
 * `prompt` (a string or messages) or to ShareGPT's `conversations`.
 * @param where  "file:line", for errors
 * @throws DataError for data of another stage, what `parseMessages` refuses, prompts that differ, or no reply of the assistant at the end
 */
export function parsePreference(value: Record<string, unknown>, where: string): Preference {
  if (!("chosen" in value && "rejected" in value)) throw wrongStage(value, where, "preferences");
  const prompt = listOf(value.prompt ?? value.conversations, "user");
  const side = (key: "chosen" | "rejected"): Conversation => {
    const given = listOf(value[key], "assistant");
    const whole = given.length > 0 && roleOf(given[0]) !== "assistant" ? given : [...prompt, ...given];
    const format = whole.some((item) => isObject(item) && "from" in item) ? "sharegpt" : "messages";
    const conversation = parseMessages(whole.map(inFormat(format)), `${where}: ${key}`, {
      format,
      tools: value.tools,
      system: value.system,
    });
    const last = conversation.messages[conversation.messages.length - 1];
    if (last.role !== "assistant")
      throw new DataError(`${where}: ${key} ends with a message of ${last.role}, expected the assistant's reply`);
    if (conversation.messages.length === 1)
      throw new DataError(`${where}: ${key} is a reply without a prompt, expected messages before it or a "prompt"`);
    return conversation;
  };
  const [chosen, rejected] = [side("chosen"), side("rejected")];
  checkPrompts(chosen.messages.slice(0, -1), rejected.messages.slice(0, -1), where);
  return { chosen, rejected };
}

function checkPrompts(chosen: readonly ChatMessage[], rejected: readonly ChatMessage[], where: string): void {
  if (JSON.stringify(chosen) === JSON.stringify(rejected)) return;
  const at = chosen.findIndex((message, i) => JSON.stringify(message) !== JSON.stringify(rejected[i]));
  const n = at < 0 ? chosen.length : at;
  const shown = (list: readonly ChatMessage[]) =>
    n < list.length ? `${list[n].role}: ${JSON.stringify(list[n].content.slice(0, 40))}` : "nothing more";
  throw new DataError(
    `${where}: the prompts differ at message ${n + 1}: chosen has ${shown(chosen)}, rejected ${shown(rejected)}; both must be replies to the same prompt`,
  );
}

const isObject = (value: unknown): value is Record<string, unknown> => value !== null && typeof value === "object";
const roleOf = (item: unknown) => {
  const name = isObject(item) ? (item.role ?? item.from) : undefined;
  return name === "gpt" ? "assistant" : name;
};

/** Messages of what may be a list, one message, or its text. */
function listOf(value: unknown, role: "user" | "assistant"): unknown[] {
  if (value === undefined) return [];
  if (Array.isArray(value)) return value;
  return [typeof value === "string" ? { role, content: value } : value];
}

/** Makes a plain message ShareGPT's where the others are. */
const inFormat = (format: "sharegpt" | "messages") => (item: unknown) =>
  format === "sharegpt" && isObject(item) && !("from" in item) ? { from: item.role, value: item.content } : item;
