import { TokenizerError } from "./json.ts";

/** A token that training sets aside. */
export interface SpecialToken {
  content: string;
  /** Control tokens (default) are left out by `skipSpecialTokens`; tags that belong to the text are not. */
  special?: boolean;
  /** What the model uses it for. */
  roles?: readonly TokenRole[];
}

export type TokenRole = "bos" | "eos" | "pad" | "unk";

/** The set-aside tokens of our own tokenizers, ids from 0. */
export const defaultSpecialTokens: readonly SpecialToken[] = [
  { content: "<|endoftext|>", roles: ["pad", "unk"] },
  { content: "<|im_start|>", roles: ["bos"] },
  { content: "<|im_end|>", roles: ["eos"] },
  ...["think", "answer", "tool_call", "tool_response"].flatMap((tag) => [
    { content: `<${tag}>`, special: false },
    { content: `</${tag}>`, special: false },
  ]),
];

/**
 * ChatML with tools and thinking. Variables: `messages` [{role, content, reasoning_content?, tool_calls?}], `tools`,
 * `add_generation_prompt`, `open_thinking` (the reply begins inside `<think>`).
 */
export const chatMlTemplate = String.raw`{%- if tools %}
{{- '<|im_start|>system\n' }}
{%- if messages and messages[0].role == 'system' %}
{{- messages[0].content + '\n\n' }}
{%- endif %}
{{- '# Tools\n\nCall one or more of these functions where they help. Their signatures:\n<tools>' }}
{%- for tool in tools %}
{{- '\n' }}
{{- tool | tojson }}
{%- endfor %}
{{- '\n</tools>\n\nWrite each call as JSON between tags:\n<tool_call>\n{"name": <function-name>, "arguments": <arguments>}\n</tool_call><|im_end|>\n' }}
{%- elif messages and messages[0].role == 'system' %}
{{- '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}
{%- endif %}
{%- for message in messages %}
{%- set content = message.content if message.content is string else '' %}
{%- if message.role == 'user' or (message.role == 'system' and not loop.first) %}
{{- '<|im_start|>' + message.role + '\n' + content + '<|im_end|>\n' }}
{%- elif message.role == 'assistant' %}
{{- '<|im_start|>assistant\n' }}
{%- if message.reasoning_content is string and message.reasoning_content %}
{{- '<think>\n' + message.reasoning_content.strip('\n') + '\n</think>\n\n' }}
{%- endif %}
{{- content }}
{%- if message.tool_calls %}
{%- for call in message.tool_calls %}
{%- set function = call.function if call.function else call %}
{%- if content or not loop.first %}
{{- '\n' }}
{%- endif %}
{{- '<tool_call>\n{"name": "' + function.name + '", "arguments": ' }}
{%- if function.arguments is string %}
{{- function.arguments }}
{%- else %}
{{- function.arguments | tojson }}
{%- endif %}
{{- '}\n</tool_call>' }}
{%- endfor %}
{%- endif %}
{{- '<|im_end|>\n' }}
{%- elif message.role == 'tool' %}
{%- if loop.first or messages[loop.index0 - 1].role != 'tool' %}
{{- '<|im_start|>user' }}
{%- endif %}
{{- '\n<tool_response>\n' + content + '\n</tool_response>' }}
{%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}
{{- '<|im_end|>\n' }}
{%- endif %}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\n' }}
{%- if open_thinking is defined and open_thinking %}
{{- '<think>\n' }}
{%- endif %}
{%- endif %}`;

/** Refuses special tokens that are empty or given twice, and a vocabulary too small to hold them and the bytes. */
export function checkSpecials(specials: readonly SpecialToken[], vocabSize: number): void {
  const least = specials.length + 256;
  if (!Number.isInteger(vocabSize) || vocabSize < least) {
    throw new TokenizerError(
      `trainTokenizer: vocabSize is ${vocabSize}, expected at least ${least}: 256 bytes and ${specials.length} special tokens`,
    );
  }
  const seen = new Set<string>();
  for (const { content } of specials) {
    if (content === "" || seen.has(content)) {
      throw new TokenizerError(
        `trainTokenizer: special token ${JSON.stringify(content)} is ${content === "" ? "empty" : "given twice"}`,
      );
    }
    seen.add(content);
  }
}
