/**
 * Everything at once: masters, workers, drivers, executors and programs are killed, stopped and started again in an order that a seed
 * gives, while clients submit, repeat their submissions, and cancel. Afterwards every promise is checked against what really happened.
 *
 * HOLDFAST_CHAOS_SEED chooses another seed, HOLDFAST_CHAOS_SECONDS another length. Real processes make no run exactly like another.
 */
import { expect } from "vitest";
import type { ApplicationView } from "../../../src/wire/views.js";
import { until } from "../../support/holdfast.js";
import type { ClusterProcess } from "../../support/process-cluster.js";
import { expectBuckets, jobFile, jobWords, kill, programSpec, type Stage, scenario } from "../../support/scenario.js";

const SEED = Number(process.env.HOLDFAST_CHAOS_SEED ?? 1);
const CHAOS_MS = Number(process.env.HOLDFAST_CHAOS_SECONDS ?? 15) * 1_000;
const JOB_COUNT = 3_000;
const SETTLE_MS = 60_000;
const WORKERS = 3;

function chanceFrom(seed: number): (below: number) => number {
  let state = (seed * 2654435761) >>> 0;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 4294967296) * below);
  };
}

/** What a client was promised: this key is this application. */
interface Promised {
  readonly key: string;
  readonly id: string;
  readonly kind: "short" | "supervised" | "endless" | "job";
  cancelled: boolean;
}

interface Chaos {
  readonly stage: Stage;
  readonly chance: (below: number) => number;
  readonly masters: Set<ClusterProcess>;
  readonly workers: Map<string, ClusterProcess>;
  readonly promised: Promised[];
  readonly told: string[];
  over: boolean;
}

const pause = (durationMs: number) => new Promise((resolve) => setTimeout(resolve, durationMs));
const pick = <T>(chaos: Chaos, items: Iterable<T>): T | undefined => {
  const all = [...items];
  return all[chaos.chance(all.length)];
};

scenario(
  `chaos with seed ${SEED}: what was acknowledged is kept, nothing is done twice, and all is well soon after the last fault`,
  async (stage) => {
    const workers = new Map<string, ClusterProcess>();
    const chaos: Chaos = {
      stage,
      chance: chanceFrom(SEED),
      masters: new Set(stage.masters(3)),
      workers,
      promised: [],
      told: [],
      over: false,
    };
    for (let at = 1; at <= WORKERS; at++) startWorker(chaos, stage.cluster.file(`place-${at}`));
    await stage.valid(3, WORKERS);
    const loads = [submitPrograms(chaos), submitJobs(chaos), cancelSome(chaos)];
    await faults(chaos);
    chaos.over = true;
    await Promise.all(loads);
    try {
      await check(chaos);
    } catch (thrown) {
      console.error(`chaos with seed ${SEED}:\n${chaos.told.join("\n")}`);
      throw thrown;
    }
  },
  { timeoutMs: CHAOS_MS + 2 * SETTLE_MS },
);

function startWorker(chaos: Chaos, workDirectory: string): void {
  chaos.workers.set(workDirectory, chaos.stage.worker({ cores: 3, workDirectory }));
}

// ------------------------------------------------------------------------------------------------------------------ faults

async function faults(chaos: Chaos): Promise<void> {
  const { stage, chance } = chaos;
  const endAt = performance.now() + CHAOS_MS;
  const kinds = [
    killMaster,
    killMaster,
    hangMaster,
    handOver,
    restartWorker,
    restartWorker,
    stopSome,
    stopSome,
    killProcess,
    killProcess,
    stopProcess,
    killMachine,
    killAllMasters,
  ];
  while (performance.now() < endAt) {
    await pause(200 + chance(1_000));
    const fault = kinds[chance(kinds.length)] ?? killMaster;
    const what = await fault(chaos);
    chaos.told.push(`${new Date().toISOString().slice(11, 23)} ${what}`);
  }
  for (const one of [...chaos.masters, ...chaos.workers.values()]) one.thaw();
  while (chaos.masters.size < 3) chaos.masters.add(stage.master());
}

async function killMaster(chaos: Chaos): Promise<string> {
  const victim = pick(chaos, chaos.masters);
  if (victim === undefined) return "no master to kill";
  chaos.masters.delete(victim);
  await kill(victim);
  chaos.masters.add(chaos.stage.master());
  return `killed ${victim.name}`;
}

/** Without its parent, which then kills it (if it is stopped for long enough) and starts it again. */
async function hangMaster(chaos: Chaos): Promise<string> {
  const victim = pick(chaos, chaos.masters);
  const pid = victim?.servingPid() ?? null;
  if (victim === undefined || pid === null) return "no master to stop";
  const forMs = 200 + chaos.chance(1_500);
  signal(pid, "SIGSTOP");
  setTimeout(() => signal(pid, "SIGCONT"), forMs);
  return `stopped the event loop of ${victim.name} for up to ${forMs} ms`;
}

async function handOver(chaos: Chaos): Promise<string> {
  const { epoch } = await chaos.stage.view();
  const client = await chaos.stage.client();
  // Refused while no other master stands by, or when the leader died of something else meanwhile.
  const answer = await client.call("handover", { epoch, to: null }).catch((thrown: Error) => thrown);
  return answer instanceof Error ? `no hand-over: ${answer.message}` : `handed epoch ${epoch} over to ${answer.to}`;
}

async function killAllMasters(chaos: Chaos): Promise<string> {
  await Promise.all([...chaos.masters].map(kill));
  chaos.masters.clear();
  await pause(chaos.chance(1_500));
  for (const master of chaos.stage.masters(3)) chaos.masters.add(master);
  return "killed all masters";
}

async function restartWorker(chaos: Chaos): Promise<string> {
  const [place, worker] = pick(chaos, chaos.workers) ?? [];
  if (place === undefined || worker === undefined) return "no worker to kill";
  await kill(worker);
  await pause(chaos.chance(1_000));
  startWorker(chaos, place);
  return `killed and restarted ${worker.name}`;
}

async function stopSome(chaos: Chaos): Promise<string> {
  const victim = pick(chaos, [...chaos.masters, ...chaos.workers.values()]);
  if (victim === undefined) return "nothing to stop";
  const forMs = 100 + chaos.chance(chaos.chance(2) === 0 ? 500 : 4_000);
  victim.freeze();
  setTimeout(() => victim.thaw(), forMs);
  return `stopped ${victim.name} for ${forMs} ms`;
}

/** A driver, an executor or a supervised program. */
function victimProcess(chaos: Chaos): { readonly pid: number; readonly line: string } | undefined {
  const candidates = chaos.stage.cluster
    .leftovers()
    .filter((line) => /runner\.mjs (driver|executor)|SUPERVISED/.test(line) && !line.includes("keeper"));
  const line = pick(chaos, candidates);
  return line === undefined ? undefined : { pid: Number(line.split(" ")[0]), line: line.slice(0, 120) };
}

async function killProcess(chaos: Chaos): Promise<string> {
  const victim = victimProcess(chaos);
  if (victim === undefined) return "no process to kill";
  signal(victim.pid, "SIGKILL");
  return `killed ${victim.line}`;
}

async function stopProcess(chaos: Chaos): Promise<string> {
  const victim = victimProcess(chaos);
  if (victim === undefined) return "no process to stop";
  const forMs = 100 + chaos.chance(3_000);
  signal(victim.pid, "SIGSTOP");
  setTimeout(() => signal(victim.pid, "SIGCONT"), forMs);
  return `stopped for ${forMs} ms ${victim.line}`;
}

/** A worker and all that runs on it, at once. */
async function killMachine(chaos: Chaos): Promise<string> {
  const [place, worker] = pick(chaos, chaos.workers) ?? [];
  if (place === undefined || worker === undefined) return "no machine to kill";
  worker.signal("SIGKILL");
  for (const line of chaos.stage.cluster.leftovers().filter((one) => one.includes(`${place}/`) && !one.includes("master")))
    signal(Number(line.split(" ")[0]), "SIGKILL");
  await worker.exited;
  await pause(chaos.chance(3_000));
  startWorker(chaos, place);
  return `killed the machine of ${worker.name}`;
}

/** It may be gone. */
function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== "ESRCH") throw thrown;
  }
}

// ------------------------------------------------------------------------------------------------------------------ load

async function submitPrograms(chaos: Chaos): Promise<void> {
  const { stage, chance } = chaos;
  const client = await stage.client();
  for (let count = 1; !chaos.over; count++) {
    const key = `program-${count}`;
    const mark = stage.cluster.file(`ran-${key}`);
    const kind = (["short", "short", "supervised", "endless"] as const)[chance(4)] ?? "short";
    const scripts = {
      short: `echo run >>${mark}; sleep 0.${chance(9)}; exit ${count % 3}`,
      // Fails twice, then is content.
      supervised: `: SUPERVISED; echo run >>${mark}; sleep 0.2; [ $(wc -l <${mark}) -ge 3 ]`,
      endless: `echo run >>${mark}; while :; do sleep 0.3; done`,
    };
    const restart = { maxRestarts: 50, windowMs: 60_000, minBackoffMs: 50, maxBackoffMs: 500 };
    const spec = programSpec(["sh", "-c", scripts[kind]], {
      supervise: kind === "supervised",
      restart,
      driver: { cores: 0.25, memoryBytes: 32 << 20 },
    });
    const { id } = await client.call("submit", { key, spec });
    chaos.promised.push({ key, id, kind, cancelled: false });
    // A client that did not get its answer asks again.
    if (chance(3) === 0) expect((await client.call("submit", { key, spec })).id).toBe(id);
    await pause(150 + chance(400));
  }
}

async function submitJobs(chaos: Chaos): Promise<void> {
  const { stage } = chaos;
  for (let count = 1; !chaos.over; count++) {
    const key = `job-${count}`;
    const words = jobWords({
      params: { count: JOB_COUNT, rate: 1_500, output: stage.cluster.file(`out-${key}`) },
      args: ["--id", key, "--max-restarts", "100", "--timeout", "60s", "--executor-cores", "0.5"],
    });
    const ran = await stage.command(["submit", jobFile("buckets"), "--json", ...words], { timeoutMs: 150_000 });
    expect(ran, ran.stderr).toMatchObject({ exitCode: 0 });
    chaos.promised.push({ key, id: (JSON.parse(ran.stdout) as { id: string }).id, kind: "job", cancelled: false });
    await pause(2_000);
  }
}

async function cancelSome(chaos: Chaos): Promise<void> {
  const client = await chaos.stage.client();
  while (!chaos.over) {
    await pause(700);
    const victim = pick(
      chaos,
      chaos.promised.filter((one) => one.kind === "endless" && !one.cancelled),
    );
    if (victim === undefined) continue;
    await client.call("cancel", { application: victim.key });
    victim.cancelled = true;
  }
}

// ------------------------------------------------------------------------------------------------------------------ promises

async function check(chaos: Chaos): Promise<void> {
  const { stage, promised } = chaos;
  const client = await stage.client();
  const { epoch } = await stage.valid(3, WORKERS, SETTLE_MS);
  for (const one of promised.filter(({ kind, cancelled }) => kind === "endless" && !cancelled)) {
    await client.call("cancel", { application: one.key });
    one.cancelled = true;
  }
  const views = new Map<string, ApplicationView>();
  for (const { key, id } of promised) {
    const view = await stage.ended(key, SETTLE_MS);
    expect(view.id, key).toBe(id);
    views.set(key, view);
  }
  for (const one of promised) checkOne(stage, one, views.get(one.key));
  const { applications } = await client.call("list", {});
  expect(applications.map(({ id }) => id).sort()).toEqual(promised.map(({ id }) => id).sort());
  await until("all resources to be free", async () =>
    (await stage.workerViews()).every(
      (worker) => worker.state !== "alive" || (worker.cores.used === 0 && worker.memoryBytes.used === 0),
    ),
  );
  for (const { id } of promised) expect(stage.processesOf(id), id).toEqual([]);
  expect((await stage.view()).epoch, "no leader changes without a fault").toBe(epoch);
  await stage.usable("afterwards");
}

function checkOne(stage: Stage, one: Promised, view: ApplicationView | undefined): void {
  const what = `${one.key}: ${JSON.stringify(view)}`;
  const runs = stage.text(`ran-${one.key}`).split("\n").length - 1;
  if (one.kind === "job") {
    expect(view?.state, what).toBe("finished");
    expectBuckets(stage.cluster.file(`out-${one.key}`), JOB_COUNT);
    return;
  }
  if (one.kind === "supervised") {
    expect(view?.state, what).toBe("finished");
    expect(runs, what).toBeGreaterThanOrEqual(3);
    return;
  }
  // Not supervised: it ran once, whatever died around it; only its worker's loss ends it before it is through.
  expect(runs, what).toBeLessThanOrEqual(1);
  if (one.kind === "endless") {
    expect(["cancelled", "failed"], what).toContain(view?.state);
    if (view?.state === "failed") expect(view.reason?.code, what).toMatch(/WORKER_LOST|APPLICATION_FAILED/);
    return;
  }
  const exitCode = Number(one.key.split("-")[1]) % 3;
  if (view?.exitCode === exitCode) expect(view.state, what).toBe(exitCode === 0 ? "finished" : "failed");
  else expect(view?.state, what).toBe("failed");
}
