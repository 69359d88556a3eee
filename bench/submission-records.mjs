// What a submission costs the master's core alone: processor time and bytes of records, in turns of 100. Two builds can be compared, for what
// a change of the records costs. Usage: node bench/submission-records.mjs [--dist DIR] [--submissions 20000]   (after a build)
import { createHash } from "node:crypto";
import path from "node:path";
import { pathToFileURL } from "node:url";

const argument = (name, fallback) => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? fallback : process.argv[at + 1];
};
const dist = path.resolve(argument("dist", path.join(import.meta.dirname, "../dist")));
const load = (file) => import(pathToFileURL(path.join(dist, file)).href);
const { createMasterCore } = await load("master/core.js");
const { DEFAULT_MASTER_SETTINGS } = await load("master/settings.js");
const SUBMISSIONS = Number(argument("submissions", 20_000));
const A_TURN = 100;
const RUNS = 5;

const spec = {
  name: "probe",
  kind: "process",
  deployMode: "cluster",
  supervise: false,
  restart: { maxRestarts: 0, windowMs: 1000, minBackoffMs: 0, maxBackoffMs: 0 },
  driver: { cores: 0, memoryBytes: 64 * 1024 * 1024 },
  job: null,
  process: { argv: ["true"], env: {}, cwd: null },
};

function once() {
  const core = createMasterCore({
    ...{ epoch: 1, masterId: "m1", clusterId: "bench", address: "127.0.0.1:7077", pid: 1, build: null, mode: "store" },
    settings: DEFAULT_MASTER_SETTINGS,
    contentHash: (text) => createHash("sha256").update(text).digest("hex"),
    records: { applications: [], workers: [], events: [] },
    quarantined: [],
  });
  let now = 1_000;
  const written = { records: 0, bytes: 0, events: 0, eventBytes: 0 };
  const turnOf = (events) => {
    const turn = { writes: [], effects: [] };
    now += 1;
    for (const event of events) core.step(event, { instant: now, wall: 1_700_000_000_000 + now }, turn);
    for (const { key, value } of turn.writes) {
      const bytes = key.length + (value?.length ?? 0);
      written.records += 1;
      written.bytes += bytes;
      if (!key.startsWith("events/")) continue;
      written.events += 1;
      written.eventBytes += bytes;
    }
  };
  turnOf([{ kind: "elected" }, { kind: "opened", linkId: 1, role: "client", peerId: "c", scope: "cluster" }]);
  const before = process.cpuUsage();
  for (let start = 0; start < SUBMISSIONS; start += A_TURN) {
    const submit = (_, index) => ({
      kind: "message",
      linkId: 1,
      message: "submit",
      body: { key: `s-${start + index}`, spec },
      requestId: start + index,
    });
    turnOf(Array.from({ length: A_TURN }, submit));
  }
  const { user, system } = process.cpuUsage(before);
  return { micros: (user + system) / SUBMISSIONS, written };
}

const runs = Array.from({ length: RUNS }, once);
const micros = runs.map((run) => run.micros).sort((a, b) => a - b);
const [{ written }] = runs;
const each = (count) => (count / SUBMISSIONS).toFixed(2);
console.log(`${dist}, ${SUBMISSIONS} submissions in turns of ${A_TURN}:`);
console.log(`  processor time of each: ${micros.map((value) => value.toFixed(1)).join(" / ")} µs (${RUNS} runs)`);
console.log(
  `  records of each: ${each(written.records)} with ${each(written.bytes)} bytes, of these events ${each(written.events)} with ${each(written.eventBytes)} bytes`,
);
