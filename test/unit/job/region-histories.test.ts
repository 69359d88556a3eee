/**
 * Random histories of a job whose slices are regions, held against a plain model of what executors, sinks and the master do: whatever dies, and whatever is
 * late, each record is shown once, and no slice but the one that restarts reads anything twice.
 */
import { expect, test } from "vitest";
import type { Split } from "../../../src/dataflow/connector.js";
import type { DriverEffect, EventOf } from "../../../src/job/driver-events.js";
import type { ApplicationRecord } from "../../../src/wire/application.js";
import type { CheckpointManifest, CompletedCheckpoint, SliceSnapshot } from "../../../src/wire/checkpoint.js";
import { applicationRecord, EMPTY, shape, World } from "./driver-world.js";

const SLICES = 3;
const SPLITS = 7;
const RECORDS_OF_SPLIT = 5;
const HISTORIES = 40;
const STEPS = 220;

type Chance = (share: number) => boolean;

/** Small, fast, and the same everywhere. */
function chances(seed: number): () => number {
  let state = seed * 2_654_435_761 + 1;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

interface Part {
  readonly part: string;
  readonly records: readonly number[];
}

/** One incarnation of a slice, as an executor runs it. */
interface Slice {
  readonly try: number;
  readonly subtask: number;
  ask: number;
  taken: number;
  /** `at`: the next record. */
  reading: { readonly id: string; readonly to: number; at: number } | null;
  read: number;
  open: number[];
  parts: { readonly staged: Part; readonly checkpoint: number }[];
  told: number;
  state: "running" | "ended" | "done";
}

interface Process {
  readonly number: number;
  readonly link: number;
  slice: Slice | null;
}

class History extends World {
  readonly visible = new Map<string, readonly number[]>();
  /** By record: which subtasks have read it since the whole job last began. */
  readonly readers = new Map<number, Set<number>>();
  private readonly random: () => number;
  private readonly chance: Chance;
  private readonly record: ApplicationRecord;
  private readonly processes = new Map<number, Process>();
  private readonly manifests = new Map<string, CheckpointManifest>();
  /** What the world has still to do for the driver. */
  private pending: (() => void)[] = [];
  private seen = 0;
  private numbers = 0;
  private serial = 0;
  private failingCommits = 0;
  restarts = 0;

  constructor(seed: number, takesCheckpoints: boolean) {
    const random = chances(seed);
    const appears = random() < 0.5 ? "at-checkpoint" : "at-end";
    const record = recordOf(takesCheckpoints);
    super({
      application: record,
      failover: "slice",
      restart: { kind: "fixed-delay", attempts: 1_000_000, delayMs: 50 },
      appears: new Map([["out", appears]]),
    });
    this.random = random;
    this.chance = (share) => random() < share;
    this.record = record;
  }

  begin(): void {
    this.post({ kind: "started" });
    this.master(1, this.record);
  }

  /** One thing happens. */
  step(calm = false): void {
    this.settle();
    if (this.processes.size < SLICES + 1 && this.chance(0.4)) this.comes();
    const live = [...this.processes.values()];
    const one = live[Math.floor(this.random() * live.length)];
    if (this.pending.length > 0 && this.chance(0.4)) this.pending.shift()?.();
    else if (!calm && one !== undefined && this.chance(0.06)) this.kill(one);
    else if (!calm && one?.slice?.state === "running" && this.chance(0.04)) this.throws(one, one.slice);
    else if (!calm && one !== undefined && this.chance(0.05)) this.late(one);
    else if (one?.slice != null) this.works(one, one.slice);
    else if (this.chance(0.5)) this.wait(30);
    if (this.chance(0.3)) this.wait(Math.floor(this.random() * (this.chance(0.1) ? 1_000 : 60)));
    this.settle();
  }

  // ------------------------------------------------------------------------------------------------ executors

  private comes(): void {
    const number = ++this.numbers;
    this.processes.set(number, { number, link: number, slice: null });
    this.executor(number);
  }

  private kill(process: Process): void {
    this.processes.delete(process.number);
    this.dies(process.number, process.link);
  }

  private throws(process: Process, slice: Slice): void {
    process.slice = null;
    this.failed(process.link, shape("OPERATOR_FAILED", `slice ${slice.subtask}`), slice.try);
  }

  /** Messages of tries that are over, on a connection that lives. */
  private late({ link }: Process): void {
    const tryNumber = 1 + Math.floor(this.random() * this.view.try);
    const current = this.processes.get(link)?.slice?.try;
    if (tryNumber === current) return;
    this.post({ kind: "executor.progress", link, try: tryNumber, progress: { ...EMPTY, recordsIn: 1_000_000 } });
    this.done(link, tryNumber, { out: [{ part: "late", records: [0] }] });
    const error = shape("OPERATOR_FAILED", "late");
    this.failed(link, error, tryNumber);
    const effects = this.post({ kind: "executor.split", link, requestId: 1, try: tryNumber, source: "in", ask: 1 });
    expect(effects.some(({ kind }) => kind === "reply")).toBe(false);
  }

  private works(process: Process, slice: Slice): void {
    if (slice.state === "done") return;
    if (slice.state === "ended") {
      this.stage(slice, 0);
      slice.state = "done";
      const committables = { out: slice.parts.map(({ staged }) => staged) };
      const progress = { ...EMPTY, recordsIn: slice.read };
      this.post({ kind: "executor.done", link: process.link, try: slice.try, committables, progress });
      return;
    }
    const { reading } = slice;
    if (reading === null || reading.at === reading.to) {
      this.asks(process, slice);
      return;
    }
    const record = reading.at++;
    slice.read += 1;
    slice.open.push(record);
    const readers = this.readers.get(record) ?? new Set();
    this.readers.set(record, readers.add(slice.subtask));
    if (this.chance(0.3))
      this.post({ kind: "executor.progress", link: process.link, try: slice.try, progress: { ...EMPTY, recordsIn: slice.read } });
  }

  private asks(process: Process, slice: Slice): void {
    slice.ask += 1;
    const ask = () =>
      this.post({ kind: "executor.split", link: process.link, requestId: 1, try: slice.try, source: "in", ask: slice.ask });
    const answers = [ask(), ...(this.chance(0.2) ? [ask()] : [])].map(
      (effects) =>
        effects.find((effect) => effect.kind === "reply")?.body as {
          readonly split: { readonly id: string } | null;
          readonly position?: number;
        },
    );
    const [answer, again] = answers;
    if (again !== undefined) expect(again).toEqual(answer);
    if (answer?.split == null) {
      slice.state = "ended";
      return;
    }
    const from = Number(answer.split.id.slice(1)) * RECORDS_OF_SPLIT;
    slice.taken += 1;
    slice.reading = { id: answer.split.id, to: from + RECORDS_OF_SPLIT, at: answer.position ?? from };
  }

  private stage(slice: Slice, checkpoint: number): void {
    if (slice.open.length === 0) return;
    const part = `1.${slice.try}-${slice.subtask}-${this.serial++}`;
    slice.parts.push({ staged: { part, records: slice.open }, checkpoint });
    slice.open = [];
  }

  private snapshot(slice: Slice, id: number, completed: number): SliceSnapshot {
    this.stage(slice, id);
    slice.told = Math.max(slice.told, completed);
    slice.parts = slice.parts.filter(({ checkpoint }) => checkpoint > slice.told);
    const { reading } = slice;
    const atEnd = reading === null || reading.at === reading.to;
    return {
      finished: [],
      states: {},
      writers: { out: { slice: slice.subtask } },
      sources: { in: { taken: slice.taken, reading: atEnd ? [] : [{ nth: slice.taken - 1, position: reading.at }] } },
      committables: { out: slice.parts.map(({ staged }) => staged) },
      confirmed: slice.told,
      counts: { recordsIn: slice.read, recordsOut: slice.read, badRecords: 0, operators: [] },
    };
  }

  // ------------------------------------------------------------------------------------------------ what the driver wants done

  private settle(): void {
    while (this.seen < this.effects.length) {
      const effect = this.effects[this.seen++];
      if (effect !== undefined) this.carryOut(effect);
    }
  }

  private later(act: () => void): void {
    this.pending.push(act);
  }

  private carryOut(effect: DriverEffect): void {
    switch (effect.kind) {
      case "prepare": {
        this.restarts += 1;
        this.readers.clear();
        const manifest = effect.restore === undefined ? undefined : this.manifestOf(effect.restore);
        if (manifest !== undefined) this.show(manifest.commit.out ?? []);
        this.later(() => this.post({ kind: "prepared", try: effect.try, ...preparedOf(manifest) }));
        return;
      }
      case "tell-executor":
        this.fromDriver(effect);
        return;
      case "store-manifest": {
        const { id } = effect.manifest;
        const handle = { sha256: `${id}`.padStart(64, "0"), sizeBytes: 1 };
        this.later(() => {
          if (this.chance(0.1)) this.post({ kind: "manifest.failed", id, error: shape("DISK_FAILED") });
          else {
            this.manifests.set(handle.sha256, effect.manifest);
            this.checkManifest(effect.manifest);
            this.post({ kind: "manifest.stored", id, manifest: handle });
          }
        });
        return;
      }
      case "commit-checkpoint":
        this.later(() => {
          // Now and then more often than the driver repeats it: then the whole job restarts.
          if (this.failingCommits === 0 && this.chance(0.1)) this.failingCommits = this.chance(0.3) ? 6 : 1;
          if (this.failingCommits > 0) {
            this.failingCommits -= 1;
            this.post({ kind: "checkpoint.commit-failed", id: effect.id, error: shape("SINK_FAILED") });
            return;
          }
          this.show(effect.sinks.out ?? []);
          this.post({ kind: "checkpoint.committed", id: effect.id });
        });
        return;
      case "request":
        this.later(() => this.answers(effect));
        return;
      default:
        return;
    }
  }

  private fromDriver({ link, message, body }: Extract<DriverEffect, { kind: "tell-executor" }>): void {
    const process = this.processes.get(link);
    if (process === undefined) return;
    if (message === "executor.deploy") {
      const order = body as {
        readonly try: number;
        readonly subtask: number;
        readonly restore?: Pick<CompletedCheckpoint, "id" | "manifest">;
      };
      if (process.slice !== null && process.slice.try >= order.try) return;
      if (order.restore !== undefined) expect(this.manifestOf(order.restore).slices).toHaveLength(SLICES);
      const fresh = { ask: 0, taken: 0, reading: null, read: 0, open: [], parts: [], told: 0, state: "running" as const };
      process.slice = { try: order.try, subtask: order.subtask, ...fresh };
      const twins = [...this.processes.values()].filter(({ slice }) => slice?.try === order.try && slice.subtask === order.subtask);
      expect(twins).toHaveLength(1);
    } else if (message === "executor.cancel") {
      process.slice = null;
      this.later(() => this.post({ kind: "executor.cancelled", link, try: (body as { readonly try: number }).try }));
    } else if (message === "executor.checkpoint") {
      const order = body as { readonly try: number; readonly id: number; readonly order: string; readonly completed: number };
      this.later(() => {
        const { slice } = process;
        if (order.order !== "begin" || slice?.try !== order.try || slice.state === "done") return;
        if (!this.processes.has(process.number)) return;
        const snapshot = this.snapshot(slice, order.id, order.completed);
        this.post({ kind: "executor.checkpointed", link, try: order.try, id: order.id, snapshot, error: null });
      });
    } else if (message === "executor.finish") this.processes.delete(process.number);
  }

  private answers(effect: Extract<DriverEffect, { kind: "request" }>): void {
    const isPointer = effect.message === "driver.checkpoint" && effect.body.completed !== null;
    const error = isPointer && this.chance(0.1) ? shape("CONFLICT") : null;
    if (effect.message === "driver.commit" && error === null) this.decided(effect.body as never);
    this.post({ kind: "request.answered", request: effect.message, number: effect.number, error });
  }

  private decided({
    sinks,
    checkpoint,
  }: {
    readonly sinks: { readonly out?: readonly Part[] };
    readonly checkpoint?: number;
  }): void {
    const carried = [...this.manifests.values()].find(({ id }) => id === checkpoint)?.carried.out ?? [];
    const parts = [...carried.map(({ committable }) => committable as Part), ...(sinks.out ?? [])];
    for (const { part, records } of parts) this.visible.set(part, records);
  }

  private show(staged: readonly { readonly committable: unknown }[]): void {
    for (const { committable } of staged) {
      const { part, records } = committable as Part;
      this.visible.set(part, records);
    }
  }

  private manifestOf(pointer: Pick<CompletedCheckpoint, "manifest">): CheckpointManifest {
    return this.manifests.get(pointer.manifest.sha256) ?? expect.fail("a checkpoint that was never stored");
  }

  /** What was read and what is to be read are the input; what was read is what was written. */
  private checkManifest({ sources, commit, carried, counts }: CheckpointManifest): void {
    const left = (sources.in?.remaining ?? []).flatMap(({ split, position }) => {
      const from = Number(split.id.slice(1)) * RECORDS_OF_SPLIT;
      const at = typeof position === "number" ? position : from;
      return Array.from({ length: from + RECORDS_OF_SPLIT - at }, (_, index) => at + index);
    });
    const parts = new Map(this.visible);
    for (const { committable, attempt } of [...(commit.out ?? []), ...(carried.out ?? [])]) {
      const { part, records } = committable as Part;
      expect(part.startsWith(`${attempt}-`)).toBe(true);
      parts.set(part, records);
    }
    const written = [...parts.values()].flat();
    const all = [...left, ...written].sort((a, b) => a - b);
    if (String(all) !== String(ALL)) expect(all).toEqual(ALL);
    if (counts.recordsIn !== written.length) expect(counts.recordsIn).toBe(written.length);
  }

  expectExact(): void {
    expect([...this.visible.values()].flat().sort((a, b) => a - b)).toEqual(ALL);
  }

  /** Since the whole job last began each record was read by one subtask only, however often. */
  expectOwnReadersOnly(): void {
    for (const [record, subtasks] of this.readers)
      if (subtasks.size > 1) expect([...subtasks], `readers of ${record}`).toHaveLength(1);
  }
}

const ALL = Array.from({ length: SPLITS * RECORDS_OF_SPLIT }, (_, index) => index);

function recordOf(takesCheckpoints: boolean): ApplicationRecord {
  const checkpoints = takesCheckpoints ? { checkpoints: { storage: "/shared", nextId: 1, completed: [] } } : {};
  const record = applicationRecord(checkpoints, SLICES);
  const { job } = record.spec;
  if (job === null) throw new Error("no job");
  const checkpoint = { intervalMs: 100, minPauseMs: 0, timeoutMs: 60_000, toleratedFailures: null };
  return takesCheckpoints ? { ...record, spec: { ...record.spec, job: { ...job, checkpoint } } } : record;
}

function preparedOf(manifest: CheckpointManifest | undefined): Omit<EventOf<"prepared">, "kind" | "try"> {
  const all = Array.from({ length: SPLITS }, (_, index) => ({ id: `s${index}`, sizeHint: 1 }));
  if (manifest === undefined) return { sources: [{ uid: "in", subtasks: SLICES, splits: all, totalRecords: null }] };
  const remaining = manifest.sources.in?.remaining ?? [];
  const positions = remaining.flatMap(({ split, position }) =>
    typeof position === "number" ? [[split.id, position] as const] : [],
  );
  const splits = remaining.map(({ split }) => split as Split);
  return {
    sources: [{ uid: "in", subtasks: SLICES, splits, positions: new Map(positions), totalRecords: null }],
    restored: { carried: manifest.carried, counts: manifest.counts, commit: manifest.commit, attempt: manifest.attempt },
  };
}

function play(seed: number, takesCheckpoints: boolean): History {
  const history = new History(seed, takesCheckpoints);
  history.begin();
  for (let step = 0; step < STEPS; step++) {
    history.step();
    history.expectOwnReadersOnly();
  }
  for (let step = 0; step < 20_000 && history.view.phase !== "committing" && history.view.phase !== "cleaning"; step++)
    history.step(true);
  expect(history.view.phase).toBe("committing");
  history.expectOwnReadersOnly();
  return history;
}

test.each([
  ["with checkpoints", true],
  ["without", false],
])(
  "%s: each record is shown once, and only the slice that restarts reads again",
  { timeout: 60_000 },
  (_name, takesCheckpoints) => {
    let alone = 0;
    let whole = 0;
    for (let seed = 1; seed <= HISTORIES; seed++) {
      const history = play(seed, takesCheckpoints);
      history.expectExact();
      whole += history.restarts - 1;
      alone += history.view.try - history.restarts;
    }
    // Of both kinds there were many.
    expect(alone).toBeGreaterThan(HISTORIES);
    if (takesCheckpoints) expect(whole).toBeGreaterThan(0);
  },
);
