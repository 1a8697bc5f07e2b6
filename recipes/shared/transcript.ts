/** Questions and replies as Markdown. */
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { FileError, writeFileAtomic } from "../../framework/checkpoint/file.ts";

export interface Answer {
  /** Which model gave it. */
  model: string;
  text: string;
  /** Its tokens per second, and whatever else is worth a line. */
  figures: string;
}

export interface Exchange {
  question: string;
  answers: Answer[];
}

/** Replies stand as quotes, several to a question as a table. */
export function transcriptText(title: string, settings: readonly string[], exchanges: readonly Exchange[]): string {
  const head = [`# ${line(title)}`, settings.map((setting) => `- ${line(setting)}`).join("\n")];
  const sections = exchanges.flatMap(({ question, answers }, index) => [
    `## ${index + 1}. ${line(question)}`,
    answers.length === 1 ? quote(answers[0]) : table(answers),
  ]);
  return `${[...head, ...sections].filter((block) => block).join("\n\n")}\n`;
}

const escaped = (text: string) => text.trim().replace(/[\\`*_<[\]#|]/g, "\\$&");
const line = (text: string) => escaped(text).replace(/\s+/g, " ");
const quote = ({ text, figures }: Answer) => `> ${escaped(text).replace(/\r?\n/g, "\\\n> ")}\n\n(${line(figures)})`;

function table(answers: readonly Answer[]): string {
  const cells = answers.map(({ model, text, figures }) => [
    line(model),
    escaped(text).replace(/\r?\n/g, "<br>"),
    line(figures),
  ]);
  return [["model", "reply", "speed"], ["---", "---", "---"], ...cells]
    .map((row) => `| ${row.join(" | ")} |`)
    .join("\n");
}

/** Files that this process wrote: they may be written again, others are never replaced. */
export class OwnFiles {
  readonly #own = new Set<string>();

  /** @throws FileError where something of this name is there that this process did not write */
  check(file: string): void {
    if (file.trim() === "") throw new FileError("transcript", "its file has no name; give one, such as talk.md");
    if (!this.#own.has(resolve(file)) && existsSync(file))
      throw new FileError(file, "is there already and is not replaced; choose another name, or move it away");
  }

  /** Writes the file whole or not at all. @throws FileError as {@link check}, and where it cannot be written */
  write(file: string, text: string): void {
    this.check(file);
    writeFileAtomic(file, text);
    this.#own.add(resolve(file));
  }
}
