import { expect, test } from "bun:test";
import { type Group, groupFiles, judge, readBunTest, readSmoke } from "../run.ts";

const group: Group = { provider: "default", name: "test/a", command: [], read: readBunTest };
const output = `bun test v1.4.5

test/a/x.test.ts:
(pass) adds [0.05ms]
 9 pass
(skip) needs a file
(fail) group > takes [1.5s] away [5.23ms]

test/a/y.test.ts:

# Unhandled error between tests
-------------------------------
error: Cannot find module './nope.ts'
-------------------------------

1 tests failed:
(fail) group > takes [1.5s] away [5.23ms]

 1 pass
 1 skip
 2 todo
 2 fail
 1 error
 4 expect() calls
Ran 6 tests across 2 files. [40.00ms]
`;

test("a report of bun test is read from its own summary, with the names of what failed", () => {
  expect(readBunTest(output)).toEqual({
    passed: 1,
    failed: 2,
    skipped: 3,
    failures: ["test/a/x.test.ts: group > takes [1.5s] away", "test/a/y.test.ts: an error outside of tests"],
  });
});

test("a process that dies before its summary is a failure, whatever its exit status", () => {
  const died = output.slice(0, output.indexOf("\n 1 pass"));
  for (const ended of ["exit 0", "SIGSEGV"])
    expect(judge(group, died, ended)).toEqual({
      passed: 1,
      failed: 1,
      skipped: 0,
      failures: [`test/a: ended without a report (${ended})`],
    });
});

test("a process that ends badly after passing tests is a failure", () => {
  const passed = "test/a/x.test.ts:\n(pass) adds\n\n 1 pass\n 0 fail\nRan 1 test across 1 file. [1.00ms]\n";
  expect(judge(group, passed, "exit 0").failed).toBe(0);
  const report = judge(group, passed, "SIGSEGV");
  expect([report.passed, report.failed, report.failures]).toEqual([1, 1, ["test/a: SIGSEGV after its tests"]]);
});

test("a smoke script reports counts, or says why it is skipped; silence is a failure", () => {
  const failed = { passed: 3, failed: 1, skipped: 0, failures: ["test/deno/smoke.ts: matmul"] };
  expect(readSmoke("ok\nfail: matmul\n3 passed, 1 failed\n")).toEqual(failed);
  expect(readSmoke("skip: no adapter\n")).toEqual({ passed: 0, failed: 0, skipped: 1, failures: [] });
  expect(judge({ ...group, read: readSmoke }, "hello", "exit 0").failed).toBe(1);
});

test("files are grouped by folder, none with more than six", () => {
  const files = Array.from({ length: 30 }, (_, i) => `test/ops/f${String(i).padStart(2, "0")}.test.ts`);
  const groups = groupFiles([...files, "test/data/a.test.ts"]);
  expect([...groups.keys()]).toEqual([
    "test/data",
    "test/ops 1/5",
    "test/ops 2/5",
    "test/ops 3/5",
    "test/ops 4/5",
    "test/ops 5/5",
  ]);
  expect([...groups.values()].flat()).toEqual(["test/data/a.test.ts", ...files]);
});
