/**
 * `bun test --timeout 900000 --preload ./test/races/preload.ts ./test/kernels/reduce.test.ts`: tests fail where lanes race, whatever the results.
 */
import { afterAll, afterEach } from "bun:test";
import { races, unwatched, watchRaces } from "./watch.ts";

await watchRaces();

afterEach(async () => {
  const found = await races();
  const lines = found.map(({ kernel, kind, variable, element }) => `${kernel}: ${kind} of ${variable}[${element}]`);
  if (found.length > 0) throw new Error(`lanes race:\n  ${lines.join("\n  ")}`);
});

afterAll(() => {
  for (const reason of unwatched) console.log(`not watched: ${reason}`);
});
