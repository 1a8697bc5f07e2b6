import type { Topic } from "../types.ts";
import { making } from "./making.ts";
import { names } from "./names.ts";
import { nature } from "./nature.ts";
import { project } from "./project.ts";

/** Who the model is: what SFT leaves open and an adapter learns. */
export const identity: readonly Topic[] = [...names, ...nature, ...making, ...project];
