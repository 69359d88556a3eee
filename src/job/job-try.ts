/**
 * One try of the job: from the enumeration of its sources to the committables of all its sub-tasks.
 *
 * A member is an executor that a sub-task of this try was deployed to:
 *   running -> done -> stopped    (its slice ended well; forgotten on demand)
 *   running -> stopped            (its slice ended otherwise, or its process is gone)
 *   running -> waiting -> running (its slice restarts without the others, on whichever executor is free)
 *
 * Invariant: tries are numbered through, those of the whole job and those of one slice: a member has the number of its own, so what an incarnation
 * that is over still says, or staged, has another name than what its successor does.
 */
import { present } from "../base/assert.js";
import type { JsonValue } from "../base/json.js";
import type { CheckpointCounts, CompletedCheckpoint } from "../wire/checkpoint.js";
import type { BodyOf } from "../wire/envelope.js";
import type { driverToExecutor } from "../wire/executor-messages.js";
import type { Progress } from "../wire/progress.js";
import { Collected } from "./collected.js";
import type { Failure } from "./failures.js";
import { cause } from "./failures.js";
import type { RestoredTry, SliceReport } from "./job-progress.js";
import type { Executor } from "./roster.js";
import type { SplitAssignment } from "./splits.js";
import { addCounts } from "./staged-output.js";

type MemberState = "running" | "done" | "stopped" | "waiting";
type Committables = Readonly<Record<string, readonly unknown[]>>;

interface Member {
  readonly subtask: number;
  /** While it waits: of the incarnation before. */
  processId: string;
  dataAddress: string;
  /** The try in which it was deployed: it stands in all its messages, and in the name of what it stages. */
  try: number;
  /** By which its sinks stage what they write. */
  name: string;
  state: MemberState;
  /** Its process is gone; what it had prepared before is durable all the same. */
  gone: boolean;
  /** It runs nothing of this try any more, for certain: it said so, or its process has ended. */
  over: boolean;
  committables: Committables;
  /** While it waits: not before this instant. */
  waitsUntil: number;
  /** The checkpoint that it goes on from; null: the start. */
  restore: Pick<CompletedCheckpoint, "id" | "manifest"> | null;
  /** Checkpoints up to this one held nothing of this incarnation. */
  notOf: number;
  /** What earlier incarnations had counted where this one goes on ... */
  base: CheckpointCounts;
  /** ... and where the next one would. */
  atCheckpoint: CheckpointCounts;
}

/** A slice that restarts without the others. */
export interface WaitingSlice {
  readonly subtask: number;
  readonly until: number;
  /** Where it ran before. */
  readonly processId: string;
}

const NO_COUNTS: CheckpointCounts = { recordsIn: 0, recordsOut: 0, badRecords: 0, operators: [] };
/** No process has this id. */
const NOBODY = "";

export class JobTry {
  /** Of the first try of its members. */
  readonly first: number;
  /** Of the newest; only `restartAlone` changes it. */
  number: number;
  /** By which sinks stage its output; of a slice that restarted alone it is another one. That of a try that was taken over names the driver attempt that began it. */
  readonly name: string;
  /** Null until the host has enumerated the sources. */
  splits: SplitAssignment | null = null;
  failure: Failure | null = null;
  /** Null: it reads its input from the start. */
  restored: RestoredTry | null = null;
  /** Of all restores within it, that of one slice among them, the newest: what is told. */
  goesOnFrom: RestoredTry | null = null;
  /** The restart strategy has said of its failure that no try may follow. */
  isGivenUp = false;
  readonly collected: Collected;
  /** By sub-task; empty until it is deployed. */
  private members: readonly Member[] = [];
  private readonly progress = new Map<string, Progress>();

  constructor(number: number, name: string, collectLimits?: ReadonlyMap<string, number>) {
    this.first = number;
    this.number = number;
    this.name = name;
    this.collected = new Collected(collectLimits);
  }

  deploy(executors: readonly Executor[]): void {
    this.members = executors.map(({ processId, dataAddress }, subtask) => ({
      subtask,
      processId,
      dataAddress,
      try: this.number,
      name: this.name,
      state: "running",
      gone: false,
      over: false,
      committables: {},
      waitsUntil: 0,
      restore: this.restored?.checkpoint ?? null,
      notOf: 0,
      base: NO_COUNTS,
      atCheckpoint: NO_COUNTS,
    }));
  }

  /** The order for this executor, or null when it is no member. `storage`: of a job with checkpoints. */
  orderFor(processId: string, storage: string | null): BodyOf<typeof driverToExecutor, "executor.deploy"> | null {
    const member = this.member(processId);
    if (member === undefined || member.state === "waiting") return null;
    const peers = this.members.map((peer) => ({ processId: peer.processId, dataAddress: peer.dataAddress }));
    const { restore } = member;
    const { checkpoint, counts } = this.restored ?? {};
    return {
      try: member.try,
      name: member.name,
      subtask: member.subtask,
      parallelism: this.members.length,
      peers,
      ...(storage === null ? {} : { storage }),
      ...(restore === null
        ? {}
        : { restore: { id: restore.id, manifest: restore.manifest, ...(checkpoint?.id === restore.id ? { counts } : {}) } }),
    };
  }

  state(processId: string): MemberState | null {
    return this.member(processId)?.state ?? null;
  }

  /** Null: it is no member. */
  tryOf(processId: string): number | null {
    return this.member(processId)?.try ?? null;
  }

  nameOf(processId: string): string {
    return this.member(processId)?.name ?? this.name;
  }

  /** Whose splits and collected records are whose: by subtask, whichever process runs it. Null: it is no member. */
  readerOf(processId: string): string | null {
    const member = this.member(processId);
    return member === undefined ? null : readerName(member.subtask);
  }

  /** In the order of sub-tasks. */
  readers(): readonly string[] {
    return this.members.map(({ subtask }) => readerName(subtask));
  }

  memberIds(): readonly string[] {
    return this.members.map((member) => member.processId);
  }

  done(processId: string, committables: Committables): void {
    const member = this.member(processId);
    if (member?.state !== "running") return;
    member.state = "done";
    member.committables = committables;
  }

  stopped(processId: string): void {
    const member = this.member(processId);
    if (member === undefined) return;
    member.state = "stopped";
    member.over = true;
  }

  /** Its process has ended, as the system or its worker says. */
  ended(processId: string): void {
    const member = this.member(processId);
    if (member !== undefined) member.over = true;
  }

  /** Of all its members. */
  names(): readonly string[] {
    return [...new Set([this.name, ...this.members.map((member) => member.name)])];
  }

  /** No other driver attempt can take it over any more: that needs every member. */
  isOver(): boolean {
    return this.members.length === 0 || this.members.some((member) => member.over);
  }

  gone(processId: string): void {
    const member = this.member(processId);
    if (member === undefined) return;
    member.gone = true;
    if (member.state === "running") member.state = "stopped";
  }

  fail(failure: Failure): void {
    this.failure = this.failure === null ? failure : cause(this.failure, failure);
  }

  /** Every sub-task ended well; what became of their processes afterwards doesn't matter. */
  isComplete(): boolean {
    return this.members.length > 0 && this.members.every((member) => member.state === "done");
  }

  unsettled(): readonly string[] {
    const isSettled = ({ gone, state }: Member): boolean => gone || state === "stopped" || state === "waiting";
    return this.members.filter((member) => !isSettled(member)).map((member) => member.processId);
  }

  report(processId: string, progress: Progress): void {
    if (this.member(processId) !== undefined) this.progress.set(processId, progress);
  }

  /** Of each slice, all its incarnations together. */
  reports(): readonly SliceReport[] {
    return this.members.map(({ processId }) => ({
      ...this.countsOf(processId),
      firstBadRecords: this.progress.get(processId)?.firstBadRecords ?? [],
    }));
  }

  /** `counts`: as the executor gave them, for what it counts itself; default: as it last said. */
  countsOf(processId: string, counts: CheckpointCounts = this.progress.get(processId) ?? NO_COUNTS): CheckpointCounts {
    return addCounts(this.member(processId)?.base ?? NO_COUNTS, counts);
  }

  /** Of one that is done. */
  committablesOf(processId: string): Committables {
    return this.member(processId)?.committables ?? {};
  }

  /** By sink, in the order of sub-tasks. */
  committables(): Record<string, JsonValue[]> {
    const sinks: Record<string, JsonValue[]> = {};
    for (const member of this.members) {
      for (const [sink, values] of Object.entries(member.committables)) {
        const list = sinks[sink] ?? [];
        sinks[sink] = list;
        list.push(...(values as readonly JsonValue[]));
      }
    }
    return sinks;
  }

  // ------------------------------------------------------------------------------------------------ slices that restart alone

  /** The incarnation is over: whatever it still says is stale from here on. */
  restartAlone(processId: string, until: number): void {
    const member = this.member(processId);
    if (member === undefined) return;
    this.number += 1;
    member.try = this.number;
    member.name = `${this.name.split(".")[0]}.${this.number}`;
    member.state = "waiting";
    member.waitsUntil = until;
  }

  waiting(): readonly WaitingSlice[] {
    return this.members
      .filter(({ state }) => state === "waiting")
      .map(({ subtask, waitsUntil, processId }) => ({ subtask, until: waitsUntil, processId }));
  }

  /** Whether this executor may run a slice that waits. */
  isFree(processId: string): boolean {
    return this.members.every((member) => member.processId !== processId || member.state === "waiting");
  }

  /** `notOf`: checkpoints up to this one held nothing of it. */
  redeploy(subtask: number, { processId, dataAddress }: Executor, restore: CompletedCheckpoint | null, notOf: number): void {
    for (const other of this.members) if (other.processId === processId && other.subtask !== subtask) other.processId = NOBODY;
    const member = present(this.members[subtask], `the slice ${subtask}`);
    this.progress.delete(member.processId);
    this.progress.delete(processId);
    Object.assign(member, { processId, dataAddress, state: "running", gone: false, over: false });
    Object.assign(member, { committables: {}, restore, notOf });
    member.base = member.atCheckpoint;
    const reader = readerName(subtask);
    this.splits?.restart(reader);
    this.collected.forget(reader);
  }

  /** A checkpoint is complete that held this of the executor; undefined: all that it did, it had ended. */
  checkpointed(processId: string, counts: CheckpointCounts | undefined): void {
    const member = this.member(processId);
    if (member !== undefined) member.atCheckpoint = this.countsOf(processId, counts);
  }

  /** The newest checkpoint that held something of it, if `completed` did; 0: none. */
  completedOf(processId: string, completed: number): number {
    const member = this.member(processId);
    return member === undefined || completed <= member.notOf ? 0 : completed;
  }

  private member(processId: string): Member | undefined {
    return this.members.find((member) => member.processId === processId);
  }
}

export const readerName = (subtask: number): string => String(subtask);
