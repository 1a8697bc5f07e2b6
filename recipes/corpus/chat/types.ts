import type { Lang } from "../facts/types.ts";

/** How a user asks for the facts of one relation, and the one reply that is right. Templates as in wordings/types.ts. */
export interface Questions {
  /** The canonical reply: every question on a fact has this answer, so that replies can be compared letter by letter. */
  readonly reply: string;
  /** What matters in the reply, where it is less than all of it. */
  readonly answer?: string;
  /** Questions to train on. */
  readonly asks: readonly string[];
  /** Questions that no training file asks. */
  readonly held: readonly string[];
  /** Held out too, in words of their own: harder than the others. */
  readonly far?: readonly string[];
}

export type QuestionTable = Readonly<Record<Lang, Questions>>;

/** Something that is asked in many ways and has one reply, in both languages. */
export interface Topic extends QuestionTable {
  /** Names the topic within its file, such as "name". */
  readonly id: string;
}

export interface Message {
  readonly role: "system" | "user" | "assistant" | "tool";
  readonly content: string;
  /** JSON: the functions that a system message offers. */
  readonly tools?: string;
  /** JSON: the calls that an assistant makes. */
  readonly tool_calls?: string;
}

/** A line of training data. */
export interface Conversation {
  readonly conversations: readonly Message[];
}

/** A line of a held-out file: the last message is the reply that is expected. */
export interface HeldConversation extends Conversation {
  /** What matters in the reply. */
  readonly answer: string;
  /** What is asked, such as "capital:France". */
  readonly fact: string;
  /** The first part of `fact`. */
  readonly kind: string;
  readonly lang: Lang;
}

/** A question and its reply. */
export interface Exchange {
  readonly lang: Lang;
  readonly ask: string;
  readonly reply: string;
  /** What is asked: no conversation asks it twice. */
  readonly fact: string;
}

/** A line of preferences: two replies to one question. */
export interface Preference {
  readonly chosen: readonly Message[];
  readonly rejected: readonly Message[];
}
