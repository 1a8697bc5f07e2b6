import { beforeAll, expect, test } from "bun:test";
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { home, recipe, small } from "./support.ts";

const LONG = 120_000;
const place = join(home, "chatting"); // its own out/
const run = join(place, "out/sft");
const short = ["--maxNewTokens", "6", "--temperature", "0"];
const chat = (lines: readonly string[], ...flags: string[]) =>
  recipe("chat.ts", [...short, ...flags], {}, lines.map((line) => `${line}\n`).join(""), place);

beforeAll(async () => {
  const { code, text } = await recipe("pretrain.ts", small("chatting/out/sft", "--train.steps", "4"));
  if (code !== 0) throw new Error(text);
}, LONG);

test(
  "answers a line at a time, remembers what was said, and obeys every command",
  async () => {
    const { code, text } = await chat(
      [
        "The fox",
        "The fox",
        "/temperature 0.5",
        "/temperature",
        "/system Be brief.",
        "/system",
        "/system off",
        "/think on",
        "And now?",
        "/think off",
        "/adapter",
        "/adapter off",
        "/save talk.md",
        "/save talk.md",
        "/reset",
        "The fox",
        "/help",
        "/quit",
        "never asked",
      ],
      "--run",
      run,
    );
    expect(text).not.toContain("error");
    expect(text).not.toContain("\x1b");
    expect(text.match(/tokens\/s/g)?.length).toBeGreaterThanOrEqual(4);
    expect(text).toMatch(/> The fox\n[\s\S]*\(\d+ kept\)/); // the second prompt goes on behind the first's keys and values
    for (const said of ["temperature 0.5", "system Be brief.", "system off", "thinking on", "thinking off"])
      expect(text).toContain(`\n${said}\n`);
    expect(text).toContain("> And now?\n<think>\n");
    expect(text).toContain("adapter off; out/lora holds none");
    expect(text).toContain("saved talk.md\n> /save talk.md\nsaved talk.md");
    expect(text).toContain("a new conversation");
    expect(text).toContain("/temperature x");
    expect(text).not.toContain("never asked");
    expect(code).toBe(0);
    const saved = readFileSync(join(place, "talk.md"), "utf8");
    expect(saved).toContain(`# Chat with ${run}`);
    expect(saved).toMatch(/## 1\. The fox\n\n> [\s\S]*tokens; prompt of|## 1\. The fox\n\n> [\s\S]*tokens\/s/);
    expect(saved).toContain("## 3. And now?\n\n> \\<think>");
  },
  LONG,
);

test(
  "what is wrong is told, the talk goes on, and the exit code says so",
  async () => {
    writeFileSync(join(place, "mine.md"), "mine");
    const { code, text } = await chat(
      [
        "/tempreature 1",
        "/zzzzzzzz",
        "/temperature -1",
        "/think maybe",
        "/save none.md",
        "/adapter nobody",
        "long ".repeat(100),
        "hi",
        "/save mine.md",
        "/save",
      ],
      "--run",
      run,
      "--context",
      "64",
    );
    const errors = [...text.matchAll(/^error: (.*)$/gm)].map(([, message]) => message);
    expect(errors).toEqual([
      "there is no /tempreature, did you mean /temperature?",
      "there is no /zzzzzzzz; /help lists commands",
      '/temperature: is "-1", expected a number, 0 or more',
      '/think: is "maybe", expected on or off',
      "/save: nothing has been said yet",
      'lora: there is no adapter "nobody", neither in out/lora nor as a path; bun recipes/lora.ts trains one',
      expect.stringMatching(/^the question takes \d+ tokens, there is room for 58; shorten it$/),
      "mine.md: is there already and is not replaced; choose another name, or move it away",
      "transcript: its file has no name; give one, such as talk.md",
    ]);
    expect(text).toMatch(/> hi\n[\s\S]*tokens\/s\]/);
    expect(readFileSync(join(place, "mine.md"), "utf8")).toBe("mine");
    expect(existsSync(join(place, "none.md"))).toBe(false);
    expect(code).toBe(1);
  },
  LONG,
);

test(
  "the oldest turns are forgotten, with a word, where the context is full",
  async () => {
    const { code, text } = await chat(
      ["The quick brown fox", "The lazy dog", "The fox"],
      "--run",
      run,
      "--context",
      "64",
    );
    expect(text).toMatch(/\(the context is full: the oldest \d+ messages are forgotten\)/);
    expect(text).not.toContain("error");
    expect(code).toBe(0);
  },
  LONG,
);

test(
  "Ctrl-C ends a reply, and leaves at the prompt",
  async () => {
    const script = join(import.meta.dir, "../../recipes/chat.ts");
    const child = Bun.spawn(["bun", script, "--run", run, "--temperature", "0", "--maxNewTokens", "1000"], {
      stdin: "pipe",
      stdout: "pipe",
    });
    let text = "";
    const reading = (async () => {
      for await (const piece of child.stdout.pipeThrough(new TextDecoderStream())) text += piece;
    })();
    const until = async (sight: RegExp) => {
      while (!sight.test(text) && child.exitCode === null) await Bun.sleep(2);
      expect(text).toMatch(sight);
    };
    child.stdin.write("The fox\n");
    child.stdin.flush();
    await until(/> The fox\n[\s\S]/);
    child.kill("SIGINT");
    await until(/, interrupted; prompt of/);
    expect(child.exitCode).toBe(null);
    child.kill("SIGINT");
    expect(await child.exited).toBe(130);
    await reading;
  },
  LONG,
);

test(
  "by itself it takes the newest run; where there is none, or it is missing, the error says what makes one",
  async () => {
    mkdirSync(join(place, "out/dpo"), { recursive: true });
    cpSync(run, join(place, "out/dpo"), { recursive: true });
    utimesSync(join(place, "out/dpo/model.safetensors"), new Date(), new Date(Date.now() + 60_000));
    expect((await chat([])).text).toContain("out/dpo: ");
    rmSync(join(place, "out/dpo"), { recursive: true });
    expect((await chat([])).text).toContain("out/sft: ");
    const missing = await chat([], "--run", "out/reason");
    expect(missing.text).toContain("error: --run: there is no out/reason; make it with: bun recipes/reason.ts");
    expect(missing.code).toBe(1);
    const nowhere = join(home, "nowhere");
    mkdirSync(nowhere);
    const none = await recipe("chat.ts", [], {}, "", nowhere);
    expect(none.text).toMatch(/there is no chat model yet .*: bun recipes\/pretrain\.ts, then bun recipes\/sft\.ts/);
    expect(none.code).toBe(1);
    const adapter = await chat([], "--lora", "nobody");
    expect(adapter.text).toContain('error: lora: there is no adapter "nobody"');
    expect(adapter.code).toBe(1);
  },
  LONG,
);
