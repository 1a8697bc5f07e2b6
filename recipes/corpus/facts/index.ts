import { arithmetic, type Operation, operations } from "./arithmetic.ts";
import { geography } from "./geography.ts";
import { life } from "./life.ts";
import { science } from "./science.ts";
import type { Area, Name, Tables } from "./types.ts";

/** Every kind of fact: the names of the tables, and the four operations. */
export type Relation = keyof typeof geography | keyof typeof science | keyof typeof life | Operation;

/** One true statement, free of words: `relation` holds between `subject` and `object`. */
export interface Fact {
  /** Unique: the relation and the English subject, such as "capital:France" or "add:3+5". */
  readonly id: string;
  readonly relation: Relation;
  readonly area: Area;
  readonly subject: Name;
  readonly object: Name;
  /** The two numbers of a task of arithmetic. */
  readonly terms?: readonly [number, number];
}

const fromTables = (area: Area, tables: Tables): Fact[] =>
  Object.entries(tables).flatMap(([relation, rows]) =>
    rows.map(([subjectZh, subjectEn, objectZh, objectEn]) => ({
      id: `${relation}:${subjectEn}`,
      relation: relation as Relation,
      area,
      subject: { zh: subjectZh, en: subjectEn },
      object: { zh: objectZh, en: objectEn },
    })),
  );

/** What the corpus knows about the world, in the order of the tables. */
export const worldFacts: readonly Fact[] = [
  ...fromTables("geography", geography),
  ...fromTables("science", science),
  ...fromTables("life", life),
];

/** What the corpus knows about numbers. */
export const arithmeticFacts: readonly Fact[] = arithmetic().map(({ operation, terms: [a, b], subject, object }) => ({
  id: `${operation}:${a}${operations[operation].sign}${b}`,
  relation: operation,
  area: "arithmetic",
  subject,
  object,
  terms: [a, b],
}));

/** All facts of the corpus. */
export const facts: readonly Fact[] = [...worldFacts, ...arithmeticFacts];
