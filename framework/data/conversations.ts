/** Conversations out of the formats that are about, and as tokens of which only the assistant's are trained. */
import type { ChatMessage, ChatRole, ToolCall } from "../text/chat.ts";
import { encodeChat } from "../text/encodeChat.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { wrongStage } from "./documents.ts";
import { DataError } from "./files.ts";

export interface Conversation {
  messages: ChatMessage[];
  /** Functions that the assistant may call; empty where there are none. */
  tools: unknown[];
}

/** MiniMind's `conversations`, OpenAI's `messages`, ShareGPT's `from` and `value`, Alpaca's `instruction`. */
export type ConversationFormat = "conversations" | "messages" | "sharegpt" | "alpaca";

export interface EncodedConversation {
  ids: Int32Array<ArrayBuffer>;
  /** 1 where the token is the assistant's own, the one that ends its turn included. */
  trained: Uint8Array<ArrayBuffer>;
}

type Fields = Record<string, unknown>;

const roles: Record<string, ChatRole> = { system: "system", user: "user", assistant: "assistant", tool: "tool" };
const openAiRoles: Record<string, ChatRole> = { ...roles, developer: "system" };
const shareGptRoles: Record<string, ChatRole> = {
  ...roles,
  human: "user",
  gpt: "assistant",
  observation: "tool",
  function_call: "assistant",
};

/**
 * A line's conversation, whichever format it has.
 * @param where  "file:line", for errors
 * @throws DataError for data of another stage, no messages, an unknown role, a content that is no string, calls or tools that are not JSON
 */
export function parseConversation(
  value: unknown,
  where: string,
): { conversation: Conversation; format: ConversationFormat } {
  const fields = asFields(value, where, "the line");
  const format = formatOf(fields, where);
  if (format === "alpaca") return { conversation: parseAlpaca(fields, where), format };
  const list = format === "messages" ? fields.messages : fields.conversations;
  return { conversation: parseMessages(list, where, { format, tools: fields.tools, system: fields.system }), format };
}

function formatOf(fields: Fields, where: string): ConversationFormat {
  if ("chosen" in fields || "rejected" in fields) throw wrongStage(fields, where, "conversations");
  const { conversations } = fields;
  if (conversations !== undefined) {
    const [first] = Array.isArray(conversations) ? conversations : [];
    return first !== null && typeof first === "object" && "from" in first ? "sharegpt" : "conversations";
  }
  if ("messages" in fields) return "messages";
  if ("instruction" in fields) return "alpaca";
  throw wrongStage(fields, where, "conversations");
}

/**
 * A list of messages.
 * @param tools, system  what stands beside the list, where it does
 * @throws DataError as {@link parseConversation} does
 */
export function parseMessages(
  list: unknown,
  where: string,
  { format = "conversations", tools, system }: { format?: ConversationFormat; tools?: unknown; system?: unknown } = {},
): Conversation {
  if (!Array.isArray(list)) throw new DataError(`${where}: the messages are ${described(list)}, expected a list`);
  if (list.length === 0) throw new DataError(`${where}: the conversation is empty, expected at least one message`);
  const items = list.map((item, i) => asFields(item, where, `message ${i + 1}`));
  const messages = items.map((item, i) => parseMessage(item, `${where}: message ${i + 1}`, format));
  const instructions = optionalText(system, `${where}: "system"`);
  if (instructions && messages[0].role !== "system") messages.unshift({ role: "system", content: instructions });
  const given = tools ?? items.find((item) => item.tools !== undefined && item.tools !== null)?.tools;
  return { messages, tools: parseList(given, `${where}: tools`) };
}

function parseMessage(item: Fields, where: string, format: ConversationFormat): ChatMessage {
  const [roleKey, contentKey] = format === "sharegpt" ? ["from", "value"] : ["role", "content"];
  const allowed = format === "sharegpt" ? shareGptRoles : format === "messages" ? openAiRoles : roles;
  const name = item[roleKey];
  const role = typeof name === "string" && Object.hasOwn(allowed, name) ? allowed[name] : undefined;
  if (role === undefined)
    throw new DataError(
      `${where}: the ${roleKey === "from" ? '"from"' : "role"} is ${described(name)}, expected ${Object.keys(allowed).join(", ")}`,
    );
  let content = item[contentKey];
  if (name === "function_call")
    return { role, content: "", tool_calls: parseCalls(typeof content === "string" ? content : [content], where) };
  const calls = item.tool_calls ? parseCalls(item.tool_calls, where) : [];
  if (calls.length && role !== "assistant")
    throw new DataError(`${where}: a message of ${role} has tool_calls, which only the assistant makes`);
  if (calls.length && (content === null || content === undefined)) content = "";
  if (typeof content !== "string")
    throw new DataError(`${where}: the ${contentKey} is ${described(content)}, expected a string`);
  const thought = optionalText(item.reasoning_content, `${where}: reasoning_content`);
  return {
    role,
    content,
    ...(thought ? { reasoning_content: thought } : {}),
    ...(calls.length ? { tool_calls: calls } : {}),
  };
}

/** Calls as a list, one alone, or JSON of either; each plain or as OpenAI's `{function}`. */
function parseCalls(value: unknown, where: string): ToolCall[] {
  const expected = 'expected {"name": "...", "arguments": {...}}';
  return parseList(value, `${where}: tool_calls`).map((entry) => {
    const outer = asFields(entry, where, "a tool call");
    const call = "function" in outer ? asFields(outer.function, where, "a tool call's function") : outer;
    if (typeof call.name !== "string" || call.name === "")
      throw new DataError(`${where}: a tool call's name is ${described(call.name)}, ${expected}`);
    const given = call.arguments ?? call.parameters ?? {};
    const args = typeof given === "string" ? fromJson(given || "{}", `${where}: the arguments of ${call.name}`) : given;
    return { name: call.name, arguments: asFields(args, where, `the arguments of ${call.name}`) };
  });
}

/** A list, JSON of one, or nothing at all. */
function parseList(value: unknown, where: string): unknown[] {
  if (value === undefined || value === null || value === "") return [];
  const list = typeof value === "string" ? fromJson(value, where) : value;
  if (typeof list !== "object" || list === null)
    throw new DataError(`${where}: are ${described(value)}, expected a list, or JSON of one`);
  return Array.isArray(list) ? list : [list];
}

function parseAlpaca(fields: Fields, where: string): Conversation {
  const text = (key: string) => optionalText(fields[key], `${where}: "${key}"`);
  const { history = [] } = fields;
  const past = (Array.isArray(history) ? history : [history]).flatMap((pair): ChatMessage[] => {
    if (!Array.isArray(pair) || pair.length !== 2 || pair.some((side) => typeof side !== "string"))
      throw new DataError(`${where}: "history" holds ${described(pair)}, expected ["question", "reply"]`);
    return [
      { role: "user", content: pair[0] },
      { role: "assistant", content: pair[1] },
    ];
  });
  if (typeof fields.output !== "string")
    throw new DataError(`${where}: "output" is ${described(fields.output)}, expected the reply as a string`);
  const question = [text("instruction"), text("input")].filter(Boolean).join("\n");
  if (question === "") throw new DataError(`${where}: "instruction" and "input" are empty, expected a question`);
  const system = text("system");
  return {
    messages: [
      ...(system ? [{ role: "system" as const, content: system }] : []),
      ...past,
      { role: "user", content: question },
      { role: "assistant", content: fields.output },
    ],
    tools: [],
  };
}

function fromJson(source: string, where: string): unknown {
  try {
    return JSON.parse(source);
  } catch (error) {
    throw new DataError(
      `${where}: not JSON (${error instanceof Error ? error.message : error}): ${source.slice(0, 60)}`,
    );
  }
}

function optionalText(value: unknown, where: string): string | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value !== "string") throw new DataError(`${where} is ${described(value)}, expected a string`);
  return value;
}

function asFields(value: unknown, where: string, what: string): Fields {
  if (value === null || typeof value !== "object" || Array.isArray(value))
    throw new DataError(`${where}: ${what} is ${described(value)}, expected an object`);
  return value as Fields;
}

function described(value: unknown): string {
  if (value === undefined) return "missing";
  const json = JSON.stringify(value);
  return json.length > 60 ? `${json.slice(0, 57)}...` : json;
}

/**
 * A conversation's tokens, rendered by the tokenizer's template, and which of them are the assistant's own.
 * @throws ChatError as `encodeChat` does
 */
export function encodeConversation(tokenizer: Tokenizer, { messages, tools }: Conversation): EncodedConversation {
  const { ids, own } = encodeChat(tokenizer, messages, { tools });
  return { ids: new Int32Array(ids.buffer), trained: own };
}
