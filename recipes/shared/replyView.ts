/** A reply as a terminal shows it: thoughts dimmed, tool calls as calls. */

const tags = ["<think>", "</think>", "<tool_call>", "</tool_call>"];

/** Takes a reply piece by piece; a tag may come in several. Without `color` thoughts are told by their tags alone. */
export class ReplyView {
  readonly #write: (text: string) => unknown;
  readonly #color: boolean;
  #pending = "";
  #thinking = false;
  /** What a tool call has brought so far, where one is open. */
  #call: string | undefined;

  /** @param thinking the reply begins inside `<think>`, which the prompt has opened */
  constructor(write: (text: string) => unknown, { color, thinking = false }: { color: boolean; thinking?: boolean }) {
    this.#write = write;
    this.#color = color;
    if (thinking) this.push("<think>\n");
  }

  push(text: string): void {
    this.#pending += text;
    for (let found = firstTag(this.#pending); found; found = firstTag(this.#pending)) {
      this.#emit(this.#pending.slice(0, found.at));
      this.#tag(found.tag);
      this.#pending = this.#pending.slice(found.at + found.tag.length);
    }
    const whole = this.#pending.length - halfTag(this.#pending);
    this.#emit(this.#pending.slice(0, whole));
    this.#pending = this.#pending.slice(whole);
  }

  end(): void {
    this.#emit(this.#pending);
    this.#pending = "";
    if (this.#call !== undefined)
      this.#write(this.#paint(36, 39, `[a tool call without its end: ${this.#call.trim()}]`));
    this.#call = undefined;
  }

  #tag(tag: string): void {
    if (tag === "<think>") this.#thinking = true;
    if (tag.endsWith("think>")) this.#emit(tag);
    if (tag === "</think>") this.#thinking = false;
    if (tag === "<tool_call>") this.#call = "";
    if (tag === "</tool_call>" && this.#call !== undefined) {
      this.#write(this.#paint(36, 39, callText(this.#call)));
      this.#call = undefined;
    }
  }

  #emit(text: string): void {
    if (text === "") return;
    if (this.#call !== undefined) this.#call += text;
    else this.#write(this.#thinking ? this.#paint(2, 22, printable(text)) : printable(text));
  }

  #paint(on: number, off: number, text: string): string {
    return this.#color ? `\x1b[${on}m${text}\x1b[${off}m` : text;
  }
}

/** A model may write any byte; those that steer a terminal are shown as unknown. */
const printable = (text: string) => text.replace(/(?![\n\t])\p{Cc}/gu, "\ufffd");

function firstTag(text: string): { tag: string; at: number } | undefined {
  const found = tags.map((tag) => ({ tag, at: text.indexOf(tag) })).filter(({ at }) => at >= 0);
  return found.sort((a, b) => a.at - b.at)[0];
}

/** Characters at the end that may be the beginning of a tag. */
function halfTag(text: string): number {
  const last = text.lastIndexOf("<");
  return last >= 0 && tags.some((tag) => tag.startsWith(text.slice(last))) ? text.length - last : 0;
}

/** `[calls get_weather {"city": "长沙"}]` */
function callText(json: string): string {
  try {
    const { name, arguments: given } = JSON.parse(json) as { name: unknown; arguments: unknown };
    if (typeof name === "string") return `[calls ${printable(name)} ${printable(JSON.stringify(given ?? {}))}]`;
  } catch {
    // told below
  }
  return `[a tool call that is not JSON of a name and arguments: ${printable(json.trim())}]`;
}
