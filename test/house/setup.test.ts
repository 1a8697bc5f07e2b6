import { afterAll, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { chmodSync, cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

// setup.sh on machines made of stand-ins: a PATH that holds the tools it needs, and commands that say what we want.
const ROOT = resolve(import.meta.dirname, "../..");
const TOOLS = ["sh", "cat", "sed", "awk", "grep", "find", "head", "tr", "dirname", "cksum", "env"];
const USER = { id: "echo 1000", "apt-get": "exit 1", uname: "echo Linux" };
const OTHER_LINUX = { ...USER, "apt-get": undefined };
const NO_DRIVER = { ldconfig: ":", "dpkg-query": "exit 1" };
const folders: string[] = [];
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true });
});

function setup(commands: Record<string, string | undefined>, { env = {}, args = [] as string[] } = {}) {
  const folder = mkdtempSync(join(tmpdir(), "setup-"));
  folders.push(folder);
  for (const tool of TOOLS) symlinkSync(Bun.which(tool)!, join(folder, tool));
  for (const [name, script] of Object.entries(commands)) {
    if (script === undefined) continue;
    writeFileSync(join(folder, name), `#!/bin/sh\n${script}\n`);
    chmodSync(join(folder, name), 0o755);
  }
  // A copy, so that a stand-in for bun cannot tell the real project that its dependencies are there.
  for (const file of ["setup.sh", "package.json", "bun.lock", "framework/std/cli/package.json"])
    cpSync(join(ROOT, file), join(folder, file));
  mkdirSync(join(folder, "node_modules"));
  const result = spawnSync(join(folder, "sh"), [join(folder, "setup.sh"), ...args], {
    env: { PATH: folder, HOME: folder, ...env },
    encoding: "utf8",
  });
  return { code: result.status, said: result.stdout + result.stderr, folder };
}

/** A machine with a Vulkan loader and one driver file that names `library`, both known to the linker. */
function withDriver(library: string, mesa?: string) {
  const folder = mkdtempSync(join(tmpdir(), "driver-"));
  folders.push(folder);
  const file = join(folder, "icd.json");
  writeFileSync(file, JSON.stringify({ ICD: { library_path: library } }, null, 2));
  const ldconfig = `echo "libvulkan.so.1 (libc6) => x"; echo "${library} (libc6) => x"`;
  const commands = { ldconfig, "dpkg-query": mesa ? `echo ${mesa}` : "exit 1" };
  return [commands, { env: { VK_DRIVER_FILES: file } }] as const;
}
// Says it is new; as "bun install" it does nothing.
const BUN = { bun: "case $1 in --version) echo 1.4.5 ;; esac" };
const posix = process.platform !== "win32";

test.if(posix)("--help says what it does, and an unknown argument is refused", () => {
  expect(setup({}, { args: ["--help"] })).toMatchObject({
    code: 0,
    said: expect.stringContaining("Usage: sh setup.sh"),
  });
  expect(setup({}, { args: ["--fast"] })).toMatchObject({
    code: 1,
    said: expect.stringContaining("unknown argument: --fast"),
  });
});

test.if(posix)("without root, npm and bun it prints the commands that are needed, and fails", () => {
  const { code, said } = setup({ ...USER, ...NO_DRIVER });
  expect(code).toBe(1);
  expect(said).toContain("sudo apt-get install -y --no-install-recommends npm ca-certificates\n");
  expect(said).toContain("sudo npm install -g bun@1.4.5\n");
  expect(said).toMatch(/sudo apt-get install -y --no-install-recommends .*mesa-vulkan-drivers libvulkan1\n/);
});

test.if(posix)("without npm and apt it says where to get Node.js", () => {
  const { code, said } = setup({ ...OTHER_LINUX, ...NO_DRIVER });
  expect([code, said]).toEqual([1, expect.stringContaining("neither bun nor npm is installed")]);
});

test.if(posix)("a bun that is too old is named, not replaced", () => {
  const { code, said } = setup({ ...USER, ...NO_DRIVER, bun: "echo 1.3.11" });
  expect([code, said]).toEqual([1, expect.stringContaining("bun 1.3.11")]);
});

test.if(posix)("a bun outside of PATH is named with the line to add", () => {
  const prefix = mkdtempSync(join(tmpdir(), "prefix-"));
  folders.push(prefix);
  const npm = `case "$1" in prefix) echo ${prefix} ;; root) echo ${prefix}/lib ;; install) mkdir -p ${prefix}/bin; echo 'echo 1.4.5' >${prefix}/bin/bun; chmod +x ${prefix}/bin/bun ;; esac`;
  const mkdir = `exec ${Bun.which("mkdir")} "$@"`;
  const { code, said } = setup({ ...USER, ...NO_DRIVER, npm, mkdir, chmod: `exec ${Bun.which("chmod")} "$@"` });
  expect(code).toBe(1);
  expect(said).toContain(`export PATH="${prefix}/bin:$PATH"`);
});

const [SOFTWARE, LIBRARY] = ["mesa-vulkan-drivers libvulkan1\n", "libvulkan_lvp.so"];
for (const [title, [commands, options], accepted] of [
  ["Mesa 25 from backports", withDriver(LIBRARY, "25.0.7-2~bpo12+1"), true],
  ["Mesa 23.1", withDriver(LIBRARY, "23.1.0-1ubuntu1"), true],
  ["Debian 12's Mesa 22.3, which Dawn refuses", withDriver(LIBRARY, "22.3.6-1+deb12u2"), false],
  ["a Mesa that no package owns", withDriver(LIBRARY), true],
  ["SwiftShader", withDriver("libvk_swiftshader.so"), true],
  ["an NVIDIA driver without its device", withDriver("libGLX_nvidia.so.0"), await Bun.file("/dev/nvidiactl").exists()],
  ["a driver file whose library is gone", [NO_DRIVER, withDriver("libvk_swiftshader.so")[1]], false],
] as const)
  test.if(process.platform === "linux")(`${title} is ${accepted ? "accepted" : "not enough"}`, () => {
    const { code, said } = setup({ ...USER, ...BUN, ...commands }, options);
    expect([code, said.includes(SOFTWARE)]).toEqual(accepted ? [0, false] : [1, true]);
  });
