/** Makes conversations fit a row. */
import type { Tokenizer } from "../text/tokenizer.ts";
import { type Conversation, type EncodedConversation, encodeConversation } from "./conversations.ts";

/** What a conversation that is too long loses: its end, or what lies furthest back. */
export type Truncate = "end" | "start";

export interface Fitted {
  samples: EncodedConversation[];
  truncated: boolean;
}

/**
 * A conversation of at most `maxLength` tokens. "end" cuts off what is beyond; "start" leaves out the earliest exchanges, the system
 * message and the last exchange excepted, and cuts the end off only where that is not enough.
 */
export function fitConversation(
  tokenizer: Tokenizer,
  conversation: Conversation,
  maxLength: number,
  truncate: Truncate,
): Fitted {
  const whole = encodeConversation(tokenizer, conversation);
  if (whole.ids.length <= maxLength) return { samples: [whole], truncated: false };
  const kept = truncate === "start" ? withoutEarlyTurns(tokenizer, conversation, whole, maxLength) : whole;
  return { samples: [slice(kept, 0, maxLength)], truncated: true };
}

function withoutEarlyTurns(
  tokenizer: Tokenizer,
  { messages, tools }: Conversation,
  whole: EncodedConversation,
  maxLength: number,
): EncodedConversation {
  const system = messages[0].role === "system" ? [messages[0]] : [];
  let [rest, encoded] = [messages.slice(system.length), whole];
  while (encoded.ids.length > maxLength) {
    const next = rest.findIndex(({ role }, i) => i > 0 && role === "user");
    if (next < 0 || !rest.slice(next).some(({ role }) => role === "assistant")) break;
    rest = rest.slice(next);
    encoded = encodeConversation(tokenizer, { messages: [...system, ...rest], tools });
  }
  return encoded;
}

/**
 * A chosen and a rejected conversation of at most `maxLength` tokens, trained on their last stretch alone: the reply. "end" cuts off
 * what is beyond; "start" takes from the prompt's beginning, the same of both, down to half of `maxLength`, then from the replies' ends.
 */
export function fitPair(pair: readonly EncodedConversation[], maxLength: number, truncate: Truncate): Fitted {
  const samples = pair.map(onlyReply);
  const longest = Math.max(...samples.map(({ ids }) => ids.length));
  if (longest <= maxLength) return { samples, truncated: false };
  const prompt = replyStart(samples[0].trained);
  const spare = Math.max(0, prompt - (maxLength >> 1));
  const from = truncate === "start" ? Math.min(longest - maxLength, spare) : 0;
  return { samples: samples.map((sample) => slice(sample, from, from + maxLength)), truncated: true };
}

function onlyReply({ ids, trained }: EncodedConversation): EncodedConversation {
  return { ids, trained: trained.slice().fill(0, 0, replyStart(trained)) };
}

/** Where the last trained stretch begins. */
function replyStart(trained: Uint8Array): number {
  return trained.lastIndexOf(0, trained.lastIndexOf(1)) + 1;
}

function slice({ ids, trained }: EncodedConversation, from: number, to: number): EncodedConversation {
  return { ids: ids.slice(from, to), trained: trained.slice(from, to) };
}
