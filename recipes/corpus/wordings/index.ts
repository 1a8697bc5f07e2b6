import type { Fact, Relation } from "../facts/index.ts";
import type { Lang } from "../facts/types.ts";
import { geographyWordings } from "./geography.ts";
import { arithmeticWordings, lifeWordings } from "./life.ts";
import { scienceWordings } from "./science.ts";
import type { Wording, Wordings } from "./types.ts";

/** How each relation is put into words: the compiler refuses a relation that has none. */
export const wordings: Readonly<Record<Relation, Wordings>> = {
  ...geographyWordings,
  ...scienceWordings,
  ...lifeWordings,
  ...arithmeticWordings,
};

/** The wordings of a fact that the training text may use, or those that it may not. */
export const wordingsOf = (fact: Fact, lang: Lang, { held }: { held: boolean }): readonly Wording[] =>
  wordings[fact.relation][lang].filter((wording) => (wording.held === true) === held);
