import type { CausalLM } from "./causalLM.ts";

/** Tokens under way that are launched in one way. */
export interface Block {
  way: number;
  tokens: number;
  /** ms */
  start: number;
  counts: boolean;
}

/** What is known of a way. */
interface Seen {
  started: boolean;
  /** A token: of the fastest way in all blocks that count, each weighing half as much as the next, of another in the latest. */
  ms: number;
  /** ms of other ways' work since then. */
  since: number;
}

const SHARE = 0.01; // of the time, for trying a slower way
const TRIAL = 2; // tokens
const UNKNOWN = Number.POSITIVE_INFINITY;

/**
 * Finds the fastest of several ways to the same bits by the clock. How long one takes hangs on what else holds the cores, which comes and goes: so the
 * slower ones are tried again and again, as often as what is lost by it stays a small share of the time.
 */
export class Pace {
  private readonly seen: Seen[];
  private flying: Block[] = [];
  private end = 0;

  constructor(
    readonly ways: number,
    private readonly now = () => performance.now(),
  ) {
    this.seen = Array.from({ length: ways }, () => ({ started: false, ms: UNKNOWN, since: 0 }));
  }

  /**
   * Says in which way to launch the next tokens, and how many of them, which is from here on.
   * @param most  tokens
   * @param knows whether a way's launches are known; to find out may take longer than the work, and keeps a core from what is under way
   */
  begin(most: number, knows: (way: number) => boolean): Block {
    const { seen, flying } = this;
    const { way, trial } = this.choose();
    const known = knows(way);
    if (!known) for (const block of flying) block.counts = false;
    const tokens = trial ? Math.min(most, known ? TRIAL : 1) : most;
    const block = { way, tokens, start: this.now(), counts: known };
    seen[way].started = true;
    flying.push(block);
    return block;
  }

  private choose(): { way: number; trial: boolean } {
    const { seen, flying } = this;
    const fresh = seen.findIndex(({ started }) => !started);
    if (fresh >= 0) return { way: fresh, trial: true };
    const least = this.least();
    const way = seen.findIndex(({ ms }) => ms === least);
    const lost = ({ ms }: Seen) => (ms < UNKNOWN ? TRIAL * (ms - least) : 0);
    const idle = (i: number) => !flying.some((block) => block.counts && block.way === i);
    const due = seen.findIndex((other, i) => i !== way && idle(i) && other.since * SHARE >= lost(other));
    const steady = flying.some(({ counts }) => counts); // a generation's first tokens are for the fastest way
    return steady && due >= 0 ? { way: due, trial: true } : { way, trial: false };
  }

  private least(): number {
    return Math.min(...this.seen.map(({ ms }) => ms));
  }

  /** Takes the time of a block whose tokens are there: blocks end in the order of their starts. Without one: what was before has ended. */
  finish(block?: Block): void {
    const now = this.now();
    const ms = now - Math.max(block?.start ?? now, this.end);
    this.end = now;
    if (block) this.flying = this.flying.slice(this.flying.indexOf(block) + 1); // and those before it, which may have failed to start
    if (!block?.counts) return;
    for (const way of this.seen) way.since += ms;
    const own = this.seen[block.way];
    own.since = 0;
    const fresh = ms / block.tokens;
    own.ms = own.ms < UNKNOWN && own.ms === this.least() ? (own.ms + fresh) / 2 : fresh; // one slow block may be another program's moment
  }
}

const paces = new WeakMap<CausalLM, { of: string; pace: Pace }>();

/** The model's own: what one generation saw of the same ways serves the next. */
export function paceOf(model: CausalLM, ways: readonly number[]): Pace {
  const of = ways.join();
  const known = paces.get(model);
  if (known?.of === of) return known.pace;
  const pace = new Pace(ways.length);
  paces.set(model, { of, pace });
  return pace;
}
