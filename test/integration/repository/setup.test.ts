/** scripts/setup.sh on machines that lack something: it installs nothing without being root, and says in one sentence what is needed. */
import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ROOT } from "../../support/holdfast.js";

/** What every machine has. */
const TOOLS = ["bash", "dirname", "cmp", "cp", "sh"];

let bin = "";
beforeEach(() => {
  bin = path.join(mkdtempSync(path.join(os.tmpdir(), "holdfast-setup-")), "bin");
  mkdirSync(bin);
  for (const tool of TOOLS) link(tool);
  program("id", "echo 1000");
});
afterEach(() => rmSync(path.dirname(bin), { recursive: true }));

function link(tool: string): void {
  const found = spawnSync("sh", ["-c", `command -v ${tool}`], { encoding: "utf8" }).stdout.trim();
  symlinkSync(found, path.join(bin, tool));
}

function program(name: string, body: string): void {
  const file = path.join(bin, name);
  writeFileSync(file, `#!/bin/sh\n${body}\n`);
  chmodSync(file, 0o755);
}

const setup = () => spawnSync(path.join(bin, "bash"), ["scripts/setup.sh"], { cwd: ROOT, env: { PATH: bin }, encoding: "utf8" });

test("without Node it says which version is needed", () => {
  const ran = setup();
  expect(ran).toMatchObject({ status: 2, stdout: "" });
  expect(ran.stderr).toMatch(/^setup: Node\.js is missing\. Install Node 20\.19 or newer .*\n$/);
});

test("with a Node that is too old it names both versions", () => {
  program("node", 'case "$1" in --version) echo v18.19.0 ;; *) exit 1 ;; esac');
  const ran = setup();
  expect(ran).toMatchObject({ status: 2, stdout: "" });
  expect(ran.stderr).toBe("setup: Node v18.19.0 is too old. Holdfast needs Node 20.19 or newer.\n");
});

test("without Debian packages, and without being root, it names them in one command and installs nothing", () => {
  symlinkSync(process.execPath, path.join(bin, "node"));
  program("apt-get", "echo must not be called; exit 9");
  program("npm", "echo must not be called; exit 9");
  const ran = setup();
  expect(ran).toMatchObject({ status: 2, stdout: "" });
  expect(ran.stderr).toMatch(
    /^setup: Please install these Debian packages first: apt-get install util-linux git openssl (?:zookeeper )?default-jre-headless(?: postgresql)?\n$/,
  );
});

test("as root it installs what is missing, and goes on", () => {
  symlinkSync(process.execPath, path.join(bin, "node"));
  program("id", "echo 0");
  program("apt-get", 'echo "apt-get $*" >&2');
  program("npm", "exit 0");
  const ran = setup();
  expect(ran).toMatchObject({ status: 0, stdout: "" });
  expect(ran.stderr).toMatch(
    /setup: installing Debian packages: util-linux git openssl .*iproute2 iptables\napt-get update -qq\napt-get install -y /,
  );
});
