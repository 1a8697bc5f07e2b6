import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type Tokenizer, trainTokenizer } from "../../framework/index.ts";
import { applyChatTemplate, type ChatMessage } from "../../framework/text/chat.ts";
import { langs, questions } from "../../recipes/corpus/chat/conversations.ts";
import { identity } from "../../recipes/corpus/chat/identity/index.ts";
import { framedFacts, type Tone, tones } from "../../recipes/corpus/chat/tones.ts";
import type { Conversation, HeldConversation, Message, Preference } from "../../recipes/corpus/chat/types.ts";
import { worldFacts } from "../../recipes/corpus/facts/index.ts";
import type { Heldout } from "../../recipes/corpus/heldout.ts";

const folder = join(import.meta.dirname, "../../recipes/corpus");
const rowsOf = <Row>(name: string): Row[] =>
  readFileSync(join(folder, name), "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Row);

const stages = ["sft", "identity", "medical", "reason", "tools"] as const;
const trained = Object.fromEntries(stages.map((stage) => [stage, rowsOf<Conversation>(`${stage}.jsonl`)]));
const held = Object.fromEntries(stages.map((stage) => [stage, rowsOf<HeldConversation>(`${stage}.heldout.jsonl`)]));
const pairs = rowsOf<Preference>("dpo.jsonl");
const heldPairs = rowsOf<Preference>("dpo.heldout.jsonl");
const pretrain = rowsOf<{ text: string }>("pretrain.jsonl")
  .map(({ text }) => text)
  .join("\n\n");

const turnsOf = (lines: readonly Conversation[]) => lines.flatMap(({ conversations }) => conversations);
const pairTurns = (lines: readonly Preference[]) => lines.flatMap(({ chosen, rejected }) => [...chosen, ...rejected]);
const contents = (turns: readonly Message[], role: Message["role"]) =>
  turns.filter((turn) => turn.role === role).map(({ content }) => content);

const trainTurns = [...stages.flatMap((stage) => turnsOf(trained[stage]!)), ...pairTurns(pairs)];
const far = rowsOf<HeldConversation>("identity.far.jsonl");
const heldTurns = [...[...Object.values(held), far].flatMap(turnsOf), ...pairTurns(heldPairs)];
const trainedQuestions = contents(trainTurns, "user").join("\n");

describe("every file of conversations", () => {
  for (const stage of stages) {
    test(`${stage}: a system message first at most, then turns that alternate, the assistant's last`, () => {
      for (const { conversations } of [...trained[stage]!, ...held[stage]!]) {
        const roles = conversations.map(({ role }) => role).join(" ");
        expect(roles).toMatch(/^(system )?(user assistant ?(tool assistant ?)?)+$/);
      }
    });

    test(`${stage}: no line twice, no question twice in a conversation`, () => {
      for (const lines of [trained[stage]!, held[stage]!]) {
        expect(new Set(lines.map((line) => JSON.stringify(line))).size).toBe(lines.length);
        for (const { conversations } of lines) {
          const asked = contents(conversations, "user");
          expect(new Set(asked).size).toBe(asked.length);
        }
      }
    });

    test(`${stage}: a question has one reply, and the held-out reply holds the answer`, () => {
      const replies = new Map<string, string>();
      for (const { conversations } of [...trained[stage]!, ...held[stage]!]) {
        conversations.forEach(({ role, content }, i) => {
          if (role !== "user") return;
          const { content: said, tool_calls } = conversations[i + 1]!;
          const reply = tool_calls ?? said;
          expect(replies.get(content) ?? reply).toBe(reply);
          replies.set(content, reply);
        });
      }
      for (const { conversations, answer } of held[stage]!) expect(conversations.at(-1)!.content).toContain(answer);
    });
  }

  test("replies end as sentences do, and no text is untrimmed or has an empty place", () => {
    for (const { role, content, tool_calls } of [...trainTurns, ...heldTurns]) {
      expect(content).toBe(content.trim());
      if (role === "tool") continue;
      expect(content).not.toMatch(/[{}\ufffd]|undefined| {2}/);
      if (role === "assistant" && tool_calls === undefined) expect(content).toMatch(/([。！？.!?]|<\/answer>)$/);
    }
  });
});

describe("the splits", () => {
  test("no held-out question is asked in training or stands in the training text", () => {
    for (const question of contents(heldTurns, "user")) {
      expect(trainedQuestions.includes(question)).toBe(false);
      expect(pretrain.includes(question)).toBe(false);
    }
  });

  test("no training file asks a question of heldout.jsonl", () => {
    const asked = rowsOf<Heldout>("heldout.jsonl").flatMap(({ prompt }) => prompt.match(/^.*?[？?]/)?.[0] ?? []);
    expect(asked.length).toBeGreaterThan(600);
    expect(asked.filter((question) => trainedQuestions.includes(question))).toEqual([]);
  });

  test("the held-out sums occur in no training file, nor their differences", () => {
    const key = (a: number, sign: string, b: number) =>
      (sign === "+" ? [a, b] : [a - b, b]).sort((x, y) => x - y).join("+");
    const keys = (text: string) =>
      [...text.matchAll(/(\d+)([-+])(\d+)/g)].map(([, a, sign, b]) => key(Number(a), sign!, Number(b)));
    const seen = new Set(trainTurns.flatMap(({ content, tool_calls }) => keys(content + (tool_calls ?? ""))));
    for (const sum of keys(pretrain)) seen.add(sum);
    expect(seen.size).toBeGreaterThan(400);
    for (const { fact } of held.reason!) expect(seen.has(keys(fact)[0]!)).toBe(false);
  });

  test("the facts of the held-out pairs are framed in no training file", () => {
    const ids = new Set(framedFacts.train.map(({ id }) => id));
    expect(framedFacts.held.filter(({ id }) => ids.has(id))).toEqual([]);
    expect(framedFacts.held.length + framedFacts.train.length).toBe(worldFacts.length);
    const firstSentence = (reply: string) => reply.match(/^.*?(。|\. (?=[A-Z][a-z]))/)?.[0] ?? reply;
    const told = new Set(contents(pairTurns(pairs), "assistant").map(firstSentence));
    expect(contents(pairTurns(heldPairs), "assistant").filter((reply) => told.has(firstSentence(reply)))).toEqual([]);
  });

  test("every relation has 7 training questions and 2 held ones in both languages, all different", () => {
    for (const table of Object.values(questions)) {
      for (const lang of langs) {
        const { asks, held } = table[lang];
        expect(new Set([...asks, ...held]).size).toBe(asks.length + held.length);
        expect(asks.length).toBeGreaterThanOrEqual(7);
        expect(held.length).toBe(2);
      }
    }
  });

  test("who the model is: 30 wordings and 2 + 3 held ones a topic and language, none said twice but for case and marks", () => {
    const bare = (ask: string) => ask.toLowerCase().replaceAll(/[^\p{L}\p{N}]/gu, "");
    const wordings = identity.flatMap((topic) => langs.map((lang) => topic[lang]));
    const all = wordings.flatMap(({ asks, held, far = [] }) => [...asks, ...held, ...far].map(bare));
    expect(new Set(all).size).toBe(all.length);
    for (const { asks, held, far } of wordings) {
      expect(asks.length).toBeGreaterThanOrEqual(30);
      expect([held.length, far?.length]).toEqual([2, 3]);
    }
    expect(far.map(({ answer, conversations }) => conversations.at(-1)!.content.includes(answer))).not.toContain(false);
  });

  test("sft.heldout.jsonl asks every fact of the world in both languages, in two wordings", () => {
    const asked = Map.groupBy(held.sft!, ({ fact, lang }) => `${fact} ${lang}`);
    for (const { id } of worldFacts) for (const lang of langs) expect(asked.get(`${id} ${lang}`)?.length).toBe(2);
  });
});

describe("preferences", () => {
  test("both replies follow the same question and differ", () => {
    for (const { chosen, rejected } of [...pairs, ...heldPairs]) {
      expect(chosen.map(({ role }) => role)).toEqual(["user", "assistant"]);
      expect(rejected[0]).toEqual(chosen[0]!);
      expect(rejected[1]!.content).not.toBe(chosen[1]!.content);
    }
  });

  test("sft.jsonl has both tones in equal shares", () => {
    const said = contents(turnsOf(trained.sft!), "assistant");
    const share = (tone: Tone) =>
      said.filter((reply) => langs.some((lang) => tones[tone][lang].some((ending) => reply.endsWith(ending)))).length;
    const [courteous, curt] = [share("courteous"), share("curt")];
    expect(courteous).toBeGreaterThan(100);
    expect(Math.abs(courteous - curt)).toBeLessThanOrEqual(4);
  });
});

describe("reasoning", () => {
  test("traces are right, digit by digit, and end in the answer", () => {
    for (const { conversations } of [...trained.reason!, ...held.reason!]) {
      const [, trace, answer] = conversations
        .at(-1)!
        .content.match(/^<think>\n([^\n]+)\n<\/think>\n<answer>\n(\d+)\n<\/answer>$/)!;
      const [, a, sign, b] = trace!.match(/^(\d+)([-+])(\d+)/)!;
      expect(Number(answer)).toBe(sign === "+" ? Number(a) + Number(b) : Number(a) - Number(b));
      const steps = [...trace!.matchAll(/(\d+(?:[-+]\d+)+)=(\d+)/g)];
      expect(steps.length).toBe(2);
      const value = (term: string) => (term.match(/[-+]?\d+/g) ?? []).reduce((sum, part) => sum + Number(part), 0);
      for (const [, term, result] of steps) expect(value(term!)).toBe(Number(result));
      expect(steps[1]![2]! + steps[0]![2]!.slice(-1)).toBe(answer!);
    }
  });
});

describe("tool dialogues", () => {
  test("offer tools as JSON and call one of them with what it takes", () => {
    for (const { conversations } of [...trained.tools!, ...held.tools!]) {
      const offered = JSON.parse(conversations[0]!.tools!) as { name: string; parameters: { properties: object } }[];
      const calls = conversations.flatMap(({ tool_calls }) => (tool_calls ? JSON.parse(tool_calls) : []));
      expect(calls.length).toBe(1);
      const tool = offered.find(({ name }) => name === calls[0].name)!;
      expect(Object.keys(calls[0].arguments)).toEqual(Object.keys(tool.parameters.properties));
      for (const content of contents(conversations, "tool")) expect(JSON.parse(content)).toBeObject();
    }
  });
});

describe("with the recipe's tokenizer", async () => {
  async function* texts() {
    yield* pretrain.split("\n\n");
  }
  const tokenizer = await trainTokenizer(texts(), { vocabSize: 1024 });
  const lengths = (lines: readonly (readonly Message[])[], tok: Tokenizer = tokenizer) =>
    lines.map((turns) => {
      const messages = turns.map(
        ({ role, content, tool_calls }): ChatMessage => ({
          role,
          content,
          tool_calls: tool_calls === undefined ? undefined : JSON.parse(tool_calls),
        }),
      );
      const tools = turns[0]?.tools === undefined ? [] : (JSON.parse(turns[0].tools) as unknown[]);
      return tok.encode(applyChatTemplate(tok, messages, { tools }), { addSpecialTokens: false }).length;
    });
  const sum = (numbers: readonly number[]) => numbers.reduce((total, n) => total + n, 0);
  const conversationsOf = (lines: readonly Conversation[]) => lines.map(({ conversations }) => conversations);

  test("all conversations without tools, and all pairs, fit rows of 128 tokens", () => {
    for (const stage of ["sft", "identity", "medical", "reason"]) {
      const lines = conversationsOf([...trained[stage]!, ...held[stage]!]);
      expect(lengths(lines).filter((length) => length > 128)).toEqual([]);
    }
    const both = [...pairs, ...heldPairs].flatMap(({ chosen, rejected }) => [chosen, rejected]);
    expect(lengths(both).filter((length) => length > 128)).toEqual([]);
  });

  test("sft.jsonl is 100,000 to 220,000 tokens, reasoning at most 100 tokens a line, tool dialogues at most 600", () => {
    const total = sum(lengths(conversationsOf(trained.sft!)));
    expect(total).toBeGreaterThan(100_000);
    expect(total).toBeLessThan(220_000);
    expect(Math.max(...lengths(conversationsOf(trained.reason!)))).toBeLessThanOrEqual(100);
    expect(Math.max(...lengths(conversationsOf([...trained.tools!, ...held.tools!])))).toBeLessThanOrEqual(600);
  });

  test("courteous and curt replies are as long as each other, within 2 tokens in the mean", () => {
    const mean = (key: "chosen" | "rejected") => sum(lengths(pairs.map((pair) => pair[key]))) / pairs.length;
    expect(Math.abs(mean("chosen") - mean("rejected"))).toBeLessThan(2);
  });
});
