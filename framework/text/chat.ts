/** Conversations as text: the tokenizer's own Jinja template renders them. */
import { Template } from "@huggingface/jinja";
import { MicroMindError } from "../device/errors.ts";
import type { Tokenizer } from "./tokenizer.ts";

export type ChatRole = "system" | "user" | "assistant" | "tool";
export const chatRoles: readonly ChatRole[] = ["system", "user", "assistant", "tool"];

/** A call that the assistant makes; `arguments` as an object, or as the JSON that it is written in. */
export interface ToolCall {
  name: string;
  arguments: Record<string, unknown> | string;
}

/** One turn, under the names that Hugging Face's templates know. */
export interface ChatMessage {
  role: ChatRole;
  content: string;
  /** What the assistant thought before it replied; without `<think>` tags. */
  reasoning_content?: string;
  tool_calls?: ToolCall[];
}

export interface ChatOptions {
  /** Functions that the assistant may call, as JSON schemas. */
  tools?: readonly unknown[];
  /** Ends with the beginning of the assistant's reply (default false). */
  addGenerationPrompt?: boolean;
  /** The reply begins inside `<think>`. Passed to the template, which may know nothing of it. */
  openThinking?: boolean;
}

/** A conversation cannot be rendered. */
export class ChatError extends MicroMindError {}

const parsed = new Map<string, Template>();

/**
 * The text of a conversation, special tokens spelled out: encode it with `addSpecialTokens: false`.
 * @throws ChatError where the tokenizer has no template, or the template refuses the conversation
 */
export function applyChatTemplate(
  tokenizer: Tokenizer,
  messages: readonly ChatMessage[],
  { tools, addGenerationPrompt = false, openThinking = false }: ChatOptions = {},
): string {
  const { chatTemplate, bosToken, eosToken, padToken } = tokenizer;
  if (chatTemplate === undefined)
    throw new ChatError("the tokenizer has no chat template (chat_template in tokenizer_config.json)");
  try {
    const template = parsed.get(chatTemplate) ?? new Template(chatTemplate);
    parsed.set(chatTemplate, template);
    return template.render({
      messages,
      tools: tools?.length ? tools : undefined,
      add_generation_prompt: addGenerationPrompt,
      open_thinking: openThinking,
      enable_thinking: openThinking, // Qwen3's name for it
      bos_token: bosToken,
      eos_token: eosToken,
      pad_token: padToken,
    });
  } catch (error) {
    throw new ChatError(`chat template: ${error instanceof Error ? error.message : error}`);
  }
}
