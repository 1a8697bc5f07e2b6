import type { Topic } from "../types.ts";
import { aims } from "./aims.ts";
import { making } from "./making.ts";
import { mistaken } from "./mistaken.ts";
import { names } from "./names.ts";
import { nature } from "./nature.ts";
import { origin } from "./origin.ts";

/** Who the model is: what SFT leaves open and an adapter learns. */
export const identity: readonly Topic[] = [...names, ...mistaken, ...nature, ...origin, ...making, ...aims];
