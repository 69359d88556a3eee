// Completes package-lock.json after `npm install --package-lock-only`: optional packages of other platforms that the registry in use does
// not carry are missing there, and `npm ci` then calls the lock out of date. They are named (never fetched on this platform), so that
// the lock is the same wherever it was made. Run it after every change of dependencies: node scripts/lock-optional.mjs
import { readFileSync, writeFileSync } from "node:fs";

const file = new URL("../package-lock.json", import.meta.url);
const lock = JSON.parse(readFileSync(file, "utf8"));
const OS = { darwin: "darwin", linux: "linux", win32: "win32", windows: "win32", android: "android", freebsd: "freebsd" };
const CPU = ["arm64", "x64", "arm", "ia32", "ppc64", "riscv64", "s390x", "loong64"];

let added = 0;
for (const parent of Object.values(lock.packages)) {
  for (const [name, version] of Object.entries(parent.optionalDependencies ?? {})) {
    const key = `node_modules/${name}`;
    if (lock.packages[key] !== undefined) continue;
    const words = name.split(/[/-]/);
    const os = words.map((word) => OS[word]).find((word) => word !== undefined);
    const cpu = CPU.find((word) => words.includes(word));
    // Only packages that are plainly of another platform: anything else missing is a real defect of the lock.
    if (os === undefined || cpu === undefined || (os === "linux" && cpu === "x64" && !words.includes("musl"))) continue;
    lock.packages[key] = {
      version: version.replace(/^[~^]/, ""),
      cpu: [cpu],
      ...(parent.dev ? { dev: true } : {}),
      ...(words.includes("musl") ? { libc: ["musl"] } : {}),
      optional: true,
      os: [os],
    };
    added += 1;
  }
}
lock.packages = Object.fromEntries(Object.entries(lock.packages).sort(([left], [right]) => (left < right ? -1 : 1)));
writeFileSync(file, `${JSON.stringify(lock, null, 2)}\n`);
console.log(`${added} optional packages of other platforms added`);
