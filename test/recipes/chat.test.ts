import { beforeAll, expect, test } from "bun:test";
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { init, LoraAdapter, loadModel, saveAdapter } from "../../framework/index.ts";
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
    writeFileSync(join(place, "tools.json"), '[{"name": "weather", "parameters": {}}]');
    const { code, text } = await chat(
      [
        "The fox",
        "The fox",
        "/temperature 0.5",
        "/temperature",
        "/system Be brief.",
        "/system",
        "/system off",
        "/thinking on",
        "And now?",
        "/thinking off",
        '/tool {"sky": "sunny"}',
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
      "--context",
      "512",
      ...["--tools", "tools.json", "--precision", (await init()).target.f16 ? "f16" : "f32"],
    );
    expect(text).not.toContain("error");
    expect(text).not.toContain("\x1b");
    expect(text.match(/tokens\/s/g)?.length).toBeGreaterThanOrEqual(5);
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
    expect(saved).toMatch(/## 1\. The fox\n\n> [\s\S]*tokens\/s.*; temperature 0\)/);
    expect(saved).toContain("tokens, in f16");
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
        "/thinking maybe",
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
      '/thinking: is "maybe", expected on or off',
      "/save: nothing has been said yet",
      'lora: there is no adapter "nobody", neither in out/lora nor as a path; bun recipes/lora.ts trains one',
      expect.stringMatching(/^the question takes \d+ tokens, which fill the context of 64; shorten it$/),
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
    const child = Bun.spawn(
      ["bun", script, "--run", run, "--context", "1000", "--temperature", "0", "--maxNewTokens", "1000"],
      {
        stdin: "pipe",
        stdout: "pipe",
      },
    );
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
    await until(/tokens \(interrupted\)/);
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
    expect((await chat([])).text).toMatch(/out\/sft: \d+ parameters, context of 32 tokens/); // a row of its training
    const missing = await chat([], "--run", "out/reason");
    expect(missing.text).toContain("error: --run: there is no out/reason; make it with: bun recipes/reason.ts");
    expect(missing.code).toBe(1);
    const file = await chat([], "--run", join(run, "model.safetensors"));
    expect(file.text).toMatch(
      /error: --run: .*is a file, expected a folder .*: bun recipes\/convert\.ts --from .* --to hf/,
    );
    const nowhere = join(home, "nowhere");
    mkdirSync(nowhere);
    const none = await recipe("chat.ts", [], {}, "", nowhere);
    expect(none.text).toMatch(/there is no chat model yet .*: bun recipes\/pretrain\.ts, then bun recipes\/sft\.ts/);
    expect(none.code).toBe(1);
    const tools = await chat([], "--tools", "none.json");
    expect(tools.text).toMatch(/error: --tools: none\.json: .*; expected a JSON list of functions/);
    expect(tools.code).toBe(2);
    const adapter = await chat([], "--lora", "nobody");
    expect(adapter.text).toContain('error: lora: there is no adapter "nobody"');
    expect(adapter.code).toBe(1);
  },
  LONG,
);

test(
  "an adapter is taken and left; one that does not fit leaves the one before in use",
  async () => {
    await init();
    const model = await loadModel(run);
    const options = { rank: 2, alpha: 64, targets: ["v_proj", "down_proj"] };
    const identity = new LoraAdapter(model, options);
    for (const [name, { size }] of identity.namedParameters())
      if (name.endsWith("lora_B.weight"))
        identity
          .namedParameters()
          .get(name)
          ?.write(Array.from({ length: size }, (_, i) => (i % 5) - 2));
    const folder = join(place, "out/lora/identity");
    await saveAdapter(identity, folder, { base: run });
    const other = join(place, "out/lora/other");
    cpSync(folder, other, { recursive: true });
    const config = readFileSync(join(other, "adapter_config.json"), "utf8");
    writeFileSync(join(other, "adapter_config.json"), config.replace('"hidden_size": 32', '"hidden_size": 64'));
    model.dispose();

    const asked = (name: string) => [`/adapter ${name}`, "/reset", "The fox"];
    const { text } = await chat(
      [
        ...asked("off"),
        ...asked("identity"),
        ...asked("other"),
        ...asked("off"),
        "/adapter",
        "/adapter identity",
        "/save adapted.md",
      ],
      "--run",
      run,
    );
    const [plain, adapted, kept, restored] = [...text.matchAll(/> The fox\n([\s\S]*?)\n {2}\[/g)].map(
      ([, reply]) => reply,
    );
    expect(text).toContain("error: out/lora/other: the adapter is for another model: hidden_size 64, not 32");
    expect(adapted).not.toBe(plain);
    expect(kept).toBe(adapted);
    expect(restored).toBe(plain);
    expect(text).toContain("adapter off; out/lora holds identity, other");
    const alone = await chat(["The fox"], "--lora", "identity"); // on the adapter's own base
    expect(alone.text).toContain(`${run}: `);
    expect(alone.text).toContain(`> The fox\n${adapted}\n  [`);
    const evaluated = await recipe(
      "eval.ts",
      [...short, "--run", run, "--lora", "identity", "The fox", "--mode", "sft"],
      {},
      "",
      place,
    );
    expect(evaluated.text).toContain(`\nThe fox\n${adapted}\n  [`);
  },
  LONG,
);
