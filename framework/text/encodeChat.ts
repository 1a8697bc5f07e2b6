/** Conversations as tokens, with those that are the assistant's own told apart. */
import { applyChatTemplate, ChatError, type ChatMessage, type ChatOptions } from "./chat.ts";
import type { Tokenizer } from "./tokenizer.ts";

export interface EncodedChat {
  ids: Uint32Array<ArrayBuffer>;
  /** 1 where a token is the assistant's own: its turns from behind what opens them to the token that ends them, that included. */
  own: Uint8Array<ArrayBuffer>;
}

/**
 * The tokens of a conversation, and which of them the assistant wrote. What opens an assistant's turn is what the template adds for a
 * generation prompt, up to a `<think>`. Special tokens that a message or a tool only spells stay text: nobody fakes a turn.
 * @throws ChatError as {@link applyChatTemplate} does, and where the template does not say how the assistant's turns begin and end
 */
export function encodeChat(
  tokenizer: Tokenizer,
  messages: readonly ChatMessage[],
  options: ChatOptions = {},
): EncodedChat {
  const turns = turnsOf(tokenizer);
  const hidden = (value: unknown) => hide(value, turns.guarded);
  const text = applyChatTemplate(tokenizer, hidden(messages) as ChatMessage[], {
    ...options,
    tools: hidden(options.tools) as unknown[] | undefined,
  });
  const parts = stretches(text, turns).map(({ text, own }) => ({ ids: encodeHidden(tokenizer, text, turns), own }));
  const length = parts.reduce((sum, { ids }) => sum + ids.length, 0);
  const encoded: EncodedChat = { ids: new Uint32Array(length), own: new Uint8Array(length) };
  let at = 0;
  for (const { ids, own } of parts) {
    encoded.ids.set(ids, at);
    encoded.own.fill(Number(own), at, at + ids.length);
    at += ids.length;
  }
  return encoded;
}

/** How a template sets the assistant's turns apart, and the spellings that messages must not smuggle in. */
interface Turns {
  opening: string;
  end: string;
  spellings: string[];
  guarded: Guarded;
}
type Guarded = { pattern: RegExp; marks: Map<string, string> };

/** Two characters stand for a hidden spelling: this one, which is never a character of a text, and one that says which. */
const HIDDEN = "\uFDD0";
const FIRST = 0xe000;
const tags = /^<\/?(think|answer|tool_call|tool_response)>$/;
const known = new WeakMap<Tokenizer, Turns>();

function turnsOf(tokenizer: Tokenizer): Turns {
  const found = known.get(tokenizer);
  if (found) return found;
  const question: ChatMessage = { role: "user", content: "question" };
  const asked = applyChatTemplate(tokenizer, [question]);
  const prompted = applyChatTemplate(tokenizer, [question], { addGenerationPrompt: true });
  const opening = prompted.startsWith(asked) ? prompted.slice(asked.length).split("<think>")[0] : "";
  const reply = "the reply";
  const answered = applyChatTemplate(tokenizer, [question, { role: "assistant", content: reply }]);
  const at = answered.lastIndexOf(reply);
  if (opening === "" || !answered.slice(0, at).includes(opening))
    throw new ChatError(
      "chat template: the assistant's turns do not begin with what add_generation_prompt adds, so they cannot be told from the others",
    );
  const controls = tokenizer.addedTokens.filter((t) => t.special && !tags.test(t.content)).map((t) => t.content);
  const tail = answered.slice(at + reply.length);
  const [end] = controls.filter((token) => tail.includes(token)).sort((a, b) => tail.indexOf(a) - tail.indexOf(b));
  if (end === undefined) throw new ChatError("chat template: no special token ends the assistant's turns");
  const spellings = [HIDDEN, opening, ...controls].sort((a, b) => b.length - a.length);
  const turns = { opening, end, spellings, guarded: guard(spellings) };
  known.set(tokenizer, turns);
  return turns;
}

function guard(spellings: readonly string[]): Guarded {
  const literal = spellings.map((spelling) => spelling.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&"));
  const marks = new Map(spellings.map((spelling, i) => [spelling, HIDDEN + String.fromCharCode(FIRST + i)]));
  return { pattern: new RegExp(literal.join("|"), "g"), marks };
}

/** The same value, with every guarded spelling in its strings hidden from the template and the tokenizer. */
function hide(value: unknown, guarded: Guarded): unknown {
  if (typeof value === "string")
    return value.replace(guarded.pattern, (spelling) => guarded.marks.get(spelling) as string);
  if (Array.isArray(value)) return value.map((item) => hide(item, guarded));
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map((entry) => hide(entry, guarded) as [string, unknown]));
}

/** Cuts a rendered conversation where the assistant's turns begin and end. */
function stretches(text: string, { opening, end }: Turns): { text: string; own: boolean }[] {
  const parts: { text: string; own: boolean }[] = [];
  let at = 0;
  for (let start = text.indexOf(opening); start >= 0; start = text.indexOf(opening, at)) {
    const from = start + opening.length;
    const ends = text.indexOf(end, from);
    const to = ends < 0 ? text.length : ends + end.length;
    parts.push({ text: text.slice(at, from), own: false }, { text: text.slice(from, to), own: true });
    at = to;
  }
  parts.push({ text: text.slice(at), own: false });
  return parts;
}

/** Encodes text whose hidden spellings are plain text. */
function encodeHidden(tokenizer: Tokenizer, text: string, { spellings }: Turns): Uint32Array {
  if (!text.includes(HIDDEN)) return tokenizer.encodeIds(text, { addSpecialTokens: false });
  const ids = text.split(HIDDEN).flatMap((part, i) => {
    const spelt = i === 0 ? "" : spellings[part.charCodeAt(0) - FIRST];
    return [
      ...tokenizer.encode(spelt, { addSpecialTokens: false, allowSpecial: false }),
      ...tokenizer.encode(i === 0 ? part : part.slice(1), { addSpecialTokens: false }),
    ];
  });
  return Uint32Array.from(ids);
}
