/**
 * The host's side of a driver's checkpoints: carries out what the core wants done for them, and tells it what became of it.
 *
 * Invariant: work on what sinks staged (commits, removals) is done one piece after the other.
 */
import { CodedError } from "../../base/errors.js";
import type { StateStore } from "../../env/blob-store.js";
import type { DriverEffect, DriverEvent, EventOf, StoredCheckpoint } from "../../job/driver-events.js";
import { mergeStaged, stagedOf, triesOf } from "../../job/staged-output.js";
import type { CommitManifest } from "../../wire/application.js";
import { commitStaged, dropCheckpoints, readManifest, remainingSources, storeManifest } from "./driver-checkpoint-work.js";
import { type InputsOptions, prepareRestoredTry, prepareTry, removeLeftovers } from "./driver-inputs.js";
import { restoreSavepoint, type SavepointWork, writeSavepoint } from "./driver-savepoint-work.js";
import { sweepState } from "./state-sweep.js";

export interface DriverCheckpointsOptions {
  readonly inputs: InputsOptions;
  readonly openState: ((storage: string) => Promise<StateStore>) | null;
  /** Null: savepoints can't be written or read. */
  readonly savepoints: SavepointWork | null;
  readonly post: (event: DriverEvent) => void;
}

type EffectOf<K extends DriverEffect["kind"]> = Extract<DriverEffect, { kind: K }>;

export class DriverCheckpoints {
  private readonly options: DriverCheckpointsOptions;
  private turn: Promise<unknown> = Promise.resolve();

  constructor(options: DriverCheckpointsOptions) {
    this.options = options;
  }

  /** When nothing is under way. */
  async idle(): Promise<void> {
    await this.turn;
  }

  /** Rejects with CHECKPOINT_STORAGE, CHECKPOINT_UNREADABLE, SOURCE_FAILED or SINK_FAILED. */
  prepare({
    attempt,
    storage,
    restore,
    runs,
    keep,
  }: EffectOf<"prepare">): Promise<Omit<EventOf<"prepared">, "kind" | "try" | "runs">> {
    return this.inTurn(async () => {
      const { inputs } = this.options;
      const state = storage === undefined ? null : await this.open(storage);
      if (state === null || restore === undefined) return { sources: await prepareTry(inputs, attempt, new Set(keep)) };
      const manifest = await readManifest(state, restore, inputs.applicationId);
      const { commit, carried, counts } = manifest;
      const restored = { carried, counts, commit, attempt: manifest.attempt };
      await commitStaged(inputs, commit, { attempt: manifest.attempt, again: true });
      if (runs !== true) await prepareRestoredTry(inputs, attempt, new Set([...keep, ...triesOf(carried)]));
      return { sources: remainingSources(manifest, inputs.job), restored };
    });
  }

  async store({ storage, manifest }: EffectOf<"store-manifest">): Promise<void> {
    const { id } = manifest;
    try {
      const handle = await storeManifest(await this.open(storage), manifest);
      this.options.post({ kind: "manifest.stored", id, manifest: handle });
    } catch (thrown) {
      this.options.post({ kind: "manifest.failed", id, error: CodedError.from(thrown).toShape() });
    }
  }

  async writeSavepoint({ storage, pointer, directory }: EffectOf<"write-savepoint">): Promise<void> {
    const { id } = pointer;
    try {
      const { applicationId } = this.options.inputs;
      const place = { state: await this.open(storage), applicationId, storage };
      const savepoint = await writeSavepoint(this.savepointWork(), place, pointer, directory);
      this.options.post({ kind: "savepoint.written", id, savepoint });
    } catch (thrown) {
      this.options.post({ kind: "savepoint.failed", id, error: CodedError.from(thrown).toShape() });
    }
  }

  async restoreSavepoint({ id, attempt, storage, from }: EffectOf<"restore-savepoint">): Promise<void> {
    try {
      const state = await this.open(storage);
      const restored = await restoreSavepoint(this.savepointWork(), this.options.inputs, state, { id, attempt, from });
      this.options.post({ kind: "savepoint.restored", id, ...restored });
    } catch (thrown) {
      this.options.post({ kind: "savepoint.restore-failed", id, error: CodedError.from(thrown).toShape() });
    }
  }

  private savepointWork(): SavepointWork {
    const { savepoints } = this.options;
    if (savepoints === null) throw new CodedError("CHECKPOINT_STORAGE", "this driver has no way to reach savepoints");
    return savepoints;
  }

  async commit({ id, sinks, attempt, again }: EffectOf<"commit-checkpoint">): Promise<void> {
    try {
      await this.inTurn(() => commitStaged(this.options.inputs, sinks, { attempt, again }));
      this.options.post({ kind: "checkpoint.committed", id });
    } catch (thrown) {
      this.options.post({ kind: "checkpoint.commit-failed", id, error: CodedError.from(thrown, "SINK_FAILED").toShape() });
    }
  }

  /** The decision together with what earlier tries staged for it. */
  async withCarried(manifest: CommitManifest, checkpoint: StoredCheckpoint | undefined): Promise<CommitManifest> {
    if (manifest.checkpoint === undefined) return manifest;
    if (checkpoint === undefined)
      throw new CodedError("CHECKPOINT_UNREADABLE", `The record does not know checkpoint ${manifest.checkpoint} any more.`);
    const { carried } = await readManifest(
      await this.open(checkpoint.storage),
      checkpoint.pointer,
      this.options.inputs.applicationId,
    );
    const all = mergeStaged(carried, stagedOf("", manifest.sinks));
    // The result of `collect` sinks stands in the decision itself.
    const ofSinks = Object.entries(all).filter(([uid]) => this.options.inputs.job.collectLimits?.has(uid) !== true);
    const sinks = ofSinks.map(([uid, staged]) => [uid, staged.map(({ committable }) => committable)] as const);
    return { ...manifest, sinks: { ...manifest.sinks, ...Object.fromEntries(sinks) } };
  }

  async drop({ storage, dropped, kept }: EffectOf<"drop-checkpoints">): Promise<void> {
    await this.inTurn(async () => dropCheckpoints(this.options.inputs, await this.open(storage), { dropped, kept })).catch(
      (thrown: unknown) => this.warn("old checkpoints could not be removed", thrown),
    );
  }

  async sweep({ storage, live }: EffectOf<"sweep-checkpoints">): Promise<void> {
    await this.inTurn(async () => sweepState(this.options.inputs, await this.open(storage), live)).catch((thrown: unknown) =>
      this.warn("leftovers of checkpoints could not be looked for", thrown),
    );
  }

  /** The application has ended. */
  async forget({ storage, retain }: EffectOf<"forget-checkpoints">): Promise<void> {
    await this.inTurn(async () => {
      await removeLeftovers(this.options.inputs, null);
      if (!retain) await (await this.open(storage)).removeAll();
    }).catch((thrown: unknown) => this.warn("the state of the job could not be removed", thrown));
  }

  private open(storage: string): Promise<StateStore> {
    const { openState } = this.options;
    if (openState === null) throw new CodedError("CHECKPOINT_STORAGE", "this driver has no way to reach checkpoint storage");
    return openState(storage);
  }

  private warn(what: string, thrown: unknown): void {
    const { log, applicationId } = this.options.inputs;
    log.warn(what, { app: applicationId, reason: CodedError.from(thrown).message });
  }

  private inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.turn.then(work);
    this.turn = turn.catch(() => undefined);
    return turn;
  }
}
