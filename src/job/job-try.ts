/**
 * One try of the job: from the enumeration of its sources to the committables of all its sub-tasks.
 *
 * A member is an executor that a sub-task of this try was deployed to:
 *   running -> done -> stopped    (its slice ended well; forgotten on demand)
 *   running -> stopped            (its slice ended otherwise, or its process is gone)
 */
import type { JsonValue } from "../base/json.js";
import type { BodyOf } from "../wire/envelope.js";
import type { driverToExecutor } from "../wire/executor-messages.js";
import type { Progress } from "../wire/progress.js";
import { Collected } from "./collected.js";
import type { Failure } from "./failures.js";
import { cause } from "./failures.js";
import type { RestoredTry } from "./job-progress.js";
import type { Executor } from "./roster.js";
import type { SplitAssignment } from "./splits.js";

type MemberState = "running" | "done" | "stopped";
type Committables = Readonly<Record<string, readonly unknown[]>>;

interface Member {
  readonly subtask: number;
  readonly processId: string;
  readonly dataAddress: string;
  /** The try in which it was deployed: it stands in all its messages, and in the name of what it stages. */
  readonly try: number;
  state: MemberState;
  /** Its process is gone; what it had prepared before is durable all the same. */
  gone: boolean;
  committables: Committables;
}

export class JobTry {
  readonly number: number;
  /** Null until the host has enumerated the sources. */
  splits: SplitAssignment | null = null;
  failure: Failure | null = null;
  /** Null: it reads its input from the start. */
  restored: RestoredTry | null = null;
  readonly collected: Collected;
  /** By sub-task; empty until it is deployed. */
  private members: readonly Member[] = [];
  private readonly progress = new Map<string, Progress>();

  constructor(number: number, collectLimits?: ReadonlyMap<string, number>) {
    this.number = number;
    this.collected = new Collected(collectLimits);
  }

  deploy(executors: readonly Executor[]): void {
    this.members = executors.map(({ processId, dataAddress }, subtask) => ({
      subtask,
      processId,
      dataAddress,
      try: this.number,
      state: "running",
      gone: false,
      committables: {},
    }));
  }

  /** The order for this executor, or null when it is no member. `storage`: of a job with checkpoints. */
  orderFor(processId: string, storage: string | null): BodyOf<typeof driverToExecutor, "executor.deploy"> | null {
    const member = this.member(processId);
    if (member === undefined) return null;
    const peers = this.members.map((peer) => ({ processId: peer.processId, dataAddress: peer.dataAddress }));
    const { checkpoint } = this.restored ?? {};
    return {
      try: member.try,
      subtask: member.subtask,
      parallelism: this.members.length,
      peers,
      ...(storage === null ? {} : { storage }),
      ...(checkpoint === undefined ? {} : { restore: { id: checkpoint.id, manifest: checkpoint.manifest } }),
    };
  }

  state(processId: string): MemberState | null {
    return this.member(processId)?.state ?? null;
  }

  /** Null: it is no member. */
  tryOf(processId: string): number | null {
    return this.member(processId)?.try ?? null;
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
    if (member !== undefined) member.state = "stopped";
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
    return this.members.filter((member) => !member.gone && member.state !== "stopped").map((member) => member.processId);
  }

  report(processId: string, progress: Progress): void {
    if (this.member(processId) !== undefined) this.progress.set(processId, progress);
  }

  reports(): readonly Progress[] {
    return this.members.flatMap((member) => this.progress.get(member.processId) ?? []);
  }

  progressOf(processId: string): Progress | undefined {
    return this.progress.get(processId);
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

  private member(processId: string): Member | undefined {
    return this.members.find((member) => member.processId === processId);
  }
}

const readerName = (subtask: number): string => String(subtask);
