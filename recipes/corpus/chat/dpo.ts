import type { Fact } from "../facts/index.ts";
import { randomStream } from "../random.ts";
import { assistant, langs, user } from "./conversations.ts";
import { framed, framedFacts, inTone, type Tone } from "./tones.ts";
import type { Preference } from "./types.ts";

/** A pair for each fact and language: the same right answer, courteous and curt. */
function pairs(name: string, facts: readonly Fact[]): Preference[] {
  const random = randomStream(name);
  return random.shuffle(
    facts.flatMap((fact) =>
      langs.map((lang) => {
        const { ask, reply } = framed(fact, lang, random);
        const say = (tone: Tone) => [user(ask), assistant(inTone(reply, tone, lang, random))];
        return { chosen: say("courteous"), rejected: say("curt") };
      }),
    ),
  );
}

/** dpo.jsonl */
export const dpoPairs = (): Preference[] => pairs("dpo", framedFacts.train);

/** dpo.heldout.jsonl: facts that no training file asks in this way. */
export const dpoHeldout = (): Preference[] => pairs("dpo.heldout", framedFacts.held);
