import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { parseConversation } from "../../framework/data/conversations.ts";
import { DataError } from "../../framework/data/files.ts";
import { parsePreference } from "../../framework/data/pairs.ts";

const user = (content: string) => ({ role: "user" as const, content });
const assistant = (content: string) => ({ role: "assistant" as const, content });
const parse = (value: unknown) => parseConversation(value, "x.jsonl:3");

describe("a conversation is read from", () => {
  const expected = [{ role: "system", content: "Be brief." }, user("hi"), assistant("hello")];
  test.each<[string, string, unknown]>([
    ["MiniMind's conversations", "conversations", { conversations: expected }],
    [
      "OpenAI's messages",
      "messages",
      { messages: [{ role: "developer", content: "Be brief." }, ...expected.slice(1)] },
    ],
    [
      "ShareGPT",
      "sharegpt",
      {
        system: "Be brief.",
        conversations: [
          { from: "human", value: "hi" },
          { from: "gpt", value: "hello" },
        ],
      },
    ],
    ["Alpaca", "alpaca", { instruction: "hi", input: "", output: "hello", system: "Be brief." }],
  ])("%s", (_, format, value) => {
    expect(parse(value) as unknown).toEqual({ conversation: { messages: expected, tools: [] }, format });
  });
  test("Alpaca with input and history", () => {
    const value = { instruction: "Translate", input: "你好", output: "hello", history: [["a", "b"]] };
    expect(parse(value).conversation.messages).toEqual([
      user("a"),
      assistant("b"),
      user("Translate\n你好"),
      assistant("hello"),
    ]);
  });
  test("any with tools, calls and thoughts, as lists or as JSON of them", () => {
    const tools = [{ name: "f", parameters: {} }];
    const calls = [{ name: "f", arguments: { x: 1 } }];
    const made = { role: "assistant", content: "", tool_calls: calls };
    const asJson = JSON.stringify(tools);
    const messages = [user("q"), made];
    const openAi = {
      ...made,
      content: null,
      tool_calls: [{ id: "1", type: "function", function: { name: "f", arguments: '{"x":1}' } }],
    };
    const forms: unknown[] = [
      {
        conversations: [
          { role: "system", content: "", tools: asJson },
          user("q"),
          { ...made, tool_calls: JSON.stringify(calls) },
        ],
      },
      { conversations: [{ role: "system", content: "" }, ...messages], tools },
      { messages: [{ role: "system", content: "" }, user("q"), openAi], tools: asJson },
      {
        tools,
        conversations: [
          { from: "system", value: "" },
          { from: "human", value: "q" },
          { from: "function_call", value: JSON.stringify(calls[0]) },
        ],
      },
    ];
    for (const form of forms)
      expect(parse(form).conversation as unknown).toEqual({
        messages: [{ role: "system", content: "" }, ...messages],
        tools,
      });
    const thought = { ...assistant("4"), reasoning_content: "2 + 2" };
    expect(parse({ conversations: [user("?"), thought] }).conversation.messages[1]).toEqual(thought);
  });
});

describe("what is no conversation is named with file and line:", () => {
  test.each<[string, unknown, string]>([
    [
      "text",
      { text: "a" },
      'x.jsonl:3: holds text to pretrain on, for recipes/pretrain.ts; recipes/sft.ts reads {"conversations"',
    ],
    ["preferences", { chosen: [], rejected: [] }, "x.jsonl:3: holds preferences, for recipes/dpo.ts"],
    [
      "other keys",
      { question: "a" },
      'x.jsonl:3: found no "conversations" or "messages" or "instruction" among its keys (question)',
    ],
    ["no object", [1], "x.jsonl:3: the line is [1], expected an object"],
    ["no list", { messages: "a" }, 'x.jsonl:3: the messages are "a", expected a list'],
    ["no message", { conversations: [] }, "x.jsonl:3: the conversation is empty, expected at least one message"],
    ["an odd message", { conversations: ["a"] }, 'x.jsonl:3: message 1 is "a", expected an object'],
    [
      "an unknown role",
      { conversations: [user("a"), { role: "bot", content: "b" }] },
      'x.jsonl:3: message 2: the role is "bot", expected system, user, assistant, tool',
    ],
    [
      "an inherited role",
      { conversations: [{ role: "constructor", content: "b" }] },
      'the role is "constructor", expected',
    ],
    ["no role", { conversations: [{ content: "b" }] }, "x.jsonl:3: message 1: the role is missing, expected"],
    [
      "an unknown sender",
      { conversations: [{ from: "alien", value: "b" }] },
      'x.jsonl:3: message 1: the "from" is "alien", expected system, user, assistant, tool, human, gpt, observation, function_call',
    ],
    [
      "content of another type",
      { messages: [{ role: "user", content: [{}] }] },
      "message 1: the content is [{}], expected a string",
    ],
    ["no content", { messages: [{ role: "assistant" }] }, "message 1: the content is missing, expected a string"],
    [
      "calls that are not JSON",
      { conversations: [{ ...assistant(""), tool_calls: "[{" }] },
      "x.jsonl:3: message 1: tool_calls: not JSON",
    ],
    [
      "arguments that are not JSON",
      { messages: [{ ...assistant(""), tool_calls: [{ function: { name: "f", arguments: "{" } }] }] },
      "x.jsonl:3: message 1: the arguments of f: not JSON",
    ],
    [
      "a call without a name",
      { messages: [{ ...assistant(""), tool_calls: [{ arguments: {} }] }] },
      "a tool call's name is missing, expected",
    ],
    ["a user's call", { messages: [{ ...user(""), tool_calls: [{ name: "f" }] }] }, "a message of user has tool_calls"],
    ["tools that are not JSON", { conversations: [user("a")], tools: "[oops" }, "x.jsonl:3: tools: not JSON"],
    ["tools of another type", { conversations: [user("a")], tools: 5 }, "x.jsonl:3: tools: are 5, expected a list"],
    ["Alpaca without output", { instruction: "a" }, 'x.jsonl:3: "output" is missing, expected the reply as a string'],
    ["Alpaca without a question", { instruction: "", output: "a" }, '"instruction" and "input" are empty'],
    [
      "Alpaca with odd history",
      { instruction: "a", output: "b", history: ["c"] },
      '"history" holds "c", expected ["question", "reply"]',
    ],
  ])("%s", (_, value, message) => {
    expect(() => parse(value)).toThrow(message);
  });
});

test("whatever JSON a line holds, it is read or refused with a word", () => {
  const odd = fc.oneof(fc.jsonValue(), fc.constantFrom("user", "assistant", "gpt", "[]", "{", "[{}]", ""));
  const message = fc.record(
    Object.fromEntries(
      ["role", "content", "from", "value", "tools", "tool_calls", "reasoning_content"].map((k) => [k, odd]),
    ),
    { requiredKeys: [] },
  );
  const list = fc.oneof(fc.array(fc.oneof(message, odd)), odd);
  const keys = [
    "conversations",
    "messages",
    "instruction",
    "input",
    "output",
    "history",
    "system",
    "tools",
    "chosen",
    "rejected",
    "prompt",
  ];
  const line = fc.record(Object.fromEntries(keys.map((k) => [k, list])), { requiredKeys: [] });
  fc.assert(
    fc.property(line, (value) => {
      for (const read of [parseConversation, parsePreference])
        try {
          read(value, "x.jsonl:3");
        } catch (error) {
          expect(error).toBeInstanceOf(DataError);
          expect((error as Error).message).toStartWith("x.jsonl:3: ");
        }
    }),
    { numRuns: 2000 },
  );
});
