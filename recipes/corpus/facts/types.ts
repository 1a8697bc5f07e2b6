/** The corpus' two languages. */
export type Lang = "zh" | "en";

/** A thing's name in both languages. English names carry their article: "the Nile", "a whale". */
export type Name = Readonly<Record<Lang, string>>;

/** A row of a fact table: subject in Chinese and in English, object in Chinese and in English. */
export type Row = readonly [subjectZh: string, subjectEn: string, objectZh: string, objectEn: string];

/** Fact tables by relation. */
export type Tables = Readonly<Record<string, readonly Row[]>>;

/** Which shelf a fact stands on; documents that mix relations stay on one shelf. */
export type Area = "geography" | "science" | "life" | "arithmetic";
