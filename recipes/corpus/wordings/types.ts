import type { Lang } from "../facts/types.ts";

/**
 * One way to put a fact into words: a sentence, or a question with its reply. Templates name what they take: `{s}` the
 * subject, `{o}` the object, `{a}` and `{b}` the terms of a task of arithmetic, any other name a word of the vocabulary.
 * A `held` wording is kept out of the training text: it asks whether what was learnt in other words is known. Its
 * object comes last, so that the text before it is a prompt.
 */
export type Wording =
  | { readonly say: string; readonly held?: true }
  | { readonly ask: string; readonly reply: string; readonly held?: true };

export type Wordings = Readonly<Record<Lang, readonly Wording[]>>;
