// The master's core alone: 10,000 workers with 100,000 processes come back to a new leader, and as many more are placed. No disk, no network.
// Usage: node bench/master-core.mjs [--runs 5] [--workers 10000] [--executors 10] [--json]   (after a build)
import { createMasterCore } from "../dist/master/core.js";
import { DEFAULT_MASTER_SETTINGS } from "../dist/master/settings.js";
import { DEFAULT_RESTART_POLICY } from "../dist/wire/application.js";
import { decodeApplicationRecord, decodeWorkerRecord, encodeApplicationRecord, encodeWorkerRecord } from "../dist/wire/records.js";

const argument = (name, fallback) => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? fallback : Number(process.argv[at + 1]);
};
const RUNS = argument("runs", 5);
const WORKERS = argument("workers", 10_000);
const PER_WORKER = argument("executors", 10);
const PER_JOB = 100;
const NEW_JOBS = Math.floor((WORKERS * 5) / PER_JOB);
const CORES = PER_WORKER + 6;

const slot = { cores: 1, memoryBytes: 100e6 };
const spec = {
  name: "job",
  kind: "job",
  deployMode: "cluster",
  supervise: true,
  restart: DEFAULT_RESTART_POLICY,
  driver: slot,
  process: null,
  job: { artifact: "a".repeat(64), graphHash: "b".repeat(64), params: {}, parallelism: PER_JOB - 1, executor: slot },
};

function scene() {
  const applications = [];
  const inventories = Array.from({ length: WORKERS }, () => []);
  for (let job = 0; job * PER_JOB < WORKERS * PER_WORKER; job++) {
    const id = `app-1-${job + 1}`;
    const placed = (n) => (job * PER_JOB + n) % WORKERS;
    const record = {
      id,
      submissionKey: `key-${job}`,
      contentHash: "",
      spec,
      state: "running",
      reason: null,
      attempt: 1,
      restarts: 0,
      restartedAt: [],
      notBefore: null,
      cancelRequested: false,
      commit: null,
      exitCode: null,
      result: null,
      submittedAt: 1,
      startedAt: 1,
      endedAt: null,
      driver: { workerId: `w${placed(0)}`, incarnation: 1 },
      order: job + 1,
      attempts: [],
    };
    applications.push(record);
    for (let n = 0; n < PER_JOB; n++) {
      const processId = n === 0 ? `${id}.d1` : `${id}.d1.e${n}`;
      inventories[placed(n)].push({ processId, pid: 1, resources: slot, end: null, application: record });
    }
  }
  const resources = { cores: CORES, memoryBytes: 64e9 };
  const workers = Array.from({ length: WORKERS }, (_, n) => ({
    workerId: `w${n}`,
    incarnation: 1,
    address: "a:1",
    resources,
    state: "alive",
    changedAt: 1,
  }));
  return { applications, workers, inventories, resources };
}

function run({ applications, workers, inventories, resources }) {
  const bytes = { applications: applications.map(encodeApplicationRecord), workers: workers.map(encodeWorkerRecord) };
  const marks = [performance.now()];
  const mark = () => marks.push(performance.now());
  const records = {
    applications: bytes.applications.map((one) => decodeApplicationRecord(one).record),
    workers: bytes.workers.map((one) => decodeWorkerRecord(one).record),
  };
  mark();
  const self = { epoch: 2, masterId: "m", clusterId: "c", address: "a:1", pid: 1 };
  const core = createMasterCore({
    ...self,
    mode: "store",
    settings: DEFAULT_MASTER_SETTINGS,
    contentHash: (text) => text,
    records,
    quarantined: [],
  });
  const now = { instant: 0, wall: 1.7e12 };
  let launches = 0;
  const step = (event) => {
    const turn = { writes: [], effects: [] };
    core.step(event, now, turn);
    for (const effect of turn.effects) if (effect.kind === "launch") launches += 1;
  };
  const wake = () => {
    now.instant += 1;
    for (let n = 0; n < 1000 && (core.nextWakeAt() ?? Number.POSITIVE_INFINITY) <= now.instant; n++) step({ kind: "wake-up" });
  };
  step({ kind: "elected" });
  for (let n = 0; n < WORKERS; n++) {
    step({ kind: "opened", linkId: n, role: "worker", peerId: `w${n}`, scope: "cluster" });
    const body = {
      workerId: `w${n}`,
      incarnation: 1,
      address: "a:1",
      pid: 1,
      resources,
      highestEpoch: 1,
      inventory: inventories[n],
    };
    step({ kind: "message", linkId: n, message: "worker.register", requestId: null, body });
    if (n % 100 === 0) wake();
  }
  mark();
  applications.forEach((application, job) => {
    const linkId = WORKERS + job;
    const executors = Array.from({ length: PER_JOB - 1 }, (_, n) => `${application.id}.d1.e${n + 1}`);
    step({ kind: "opened", linkId, role: "driver", peerId: "d", scope: `application/${application.id}` });
    const body = {
      applicationId: application.id,
      attempt: 1,
      pid: 1,
      address: "a:1",
      highestEpoch: 1,
      application,
      wanted: PER_JOB - 1,
      executors,
      released: [],
    };
    step({ kind: "message", linkId, message: "driver.register", requestId: 1, body });
  });
  mark();
  step({ kind: "opened", linkId: -1, role: "client", peerId: "c", scope: "cluster" });
  for (let job = 0; job < NEW_JOBS; job++) {
    step({ kind: "message", linkId: -1, message: "submit", requestId: job, body: { key: `new-${job}`, spec } });
    wake();
  }
  mark();
  if (launches !== NEW_JOBS) throw new Error(`${launches} drivers were launched instead of ${NEW_JOBS}`);
  return marks.slice(1).map((at, index) => at - marks[index]);
}

const NAMES = [
  "records decoded",
  "workers re-registered",
  "drivers re-registered",
  `${NEW_JOBS} jobs (${NEW_JOBS * PER_JOB} processes) placed`,
];
const made = scene();
const runs = Array.from({ length: RUNS }, () => run(made));
const results = NAMES.map((name, index) => {
  const sorted = runs.map((times) => times[index]).sort((a, b) => a - b);
  return { name, minMs: sorted[0], medianMs: sorted[Math.floor(sorted.length / 2)], maxMs: sorted.at(-1) };
});
if (process.argv.includes("--json")) {
  console.log(JSON.stringify({ workers: WORKERS, processes: WORKERS * PER_WORKER, results }));
} else {
  console.log(`${WORKERS} workers, ${WORKERS * PER_WORKER} processes, ${RUNS} runs (aim: below 1000 ms together)`);
  for (const { name, minMs, medianMs, maxMs } of results) {
    console.log(`${name.padEnd(44)} min ${minMs.toFixed(0)}  median ${medianMs.toFixed(0)}  max ${maxMs.toFixed(0)} ms`);
  }
}
