/**
 * One session's way to the epoch: the candidate record, the wait for the present leader, the compare-and-set.
 *
 * Invariants:
 *   1. The epoch is put only with a guard on the version that was read (or on its absence), and with the own candidate record: a guard
 *      on it where it stands already, its creation otherwise.
 *   2. A candidate of another cluster never takes the epoch while a leader's session lives: it is refused, whatever it suspects.
 *   3. The watches stand before anything is read, so that no change is missed between a look and the wait for the next one.
 */
import { CodedError } from "../base/errors.js";
import type { CoordinationSession, Guard, StoredRecord, StoreLimits, Watch, Write } from "../env/coordination-store.js";
import type { SeenMasters } from "../env/master-registry.js";
import { type Bell, createBell } from "./bell.js";
import {
  decodeClusterId,
  decodeEpoch,
  type EpochRecord,
  encodeCandidate,
  encodeClusterId,
  encodeEpoch,
  encodeLastCommit,
} from "./epoch-records.js";
import {
  CANDIDATES_PREFIX,
  CLUSTER_KEY,
  candidateKey,
  EPOCH_KEY,
  LAST_COMMIT_KEY,
  LEADER_PREFIX,
  leaderKey,
  ordinalOf,
} from "./keys.js";
import type { CampaignOptions } from "./leadership.js";
import { createPatience, isPassing, type Patience } from "./patience.js";
import { seenMasters } from "./seen-masters.js";

export interface WonEpoch {
  readonly epoch: number;
  /** The fence: the version of the `epoch` record that this session put. */
  readonly epochVersion: number;
  readonly clusterId: string | undefined;
}

/** What a look at the store shows. */
interface Scene {
  readonly epoch: { readonly record: EpochRecord; readonly version: number } | undefined;
  /** Keys of leaders whose sessions live (one, but for the moment between a take-over and the old session's end). */
  readonly leaders: readonly string[];
  readonly clusterId: string | undefined;
}

/** The candidate record of this session. */
interface Place {
  readonly key: string;
  readonly value: Uint8Array;
}

/** A candidate may wait for ever: it is patient as long as its session lives. */
const CANDIDATE_ATTEMPTS = Number.POSITIVE_INFINITY;

export class Candidacy {
  private readonly session: CoordinationSession;
  private readonly limits: StoreLimits;
  private readonly options: CampaignOptions;
  private readonly bell: Bell = createBell();
  private readonly watches: readonly Watch[];
  private readonly patience: Patience;
  /** Leaders up to this epoch are not waited for. */
  private suspectedEpoch: number;
  private seenEpoch = Number.POSITIVE_INFINITY;

  constructor(session: CoordinationSession, limits: StoreLimits, options: CampaignOptions) {
    this.session = session;
    this.limits = limits;
    this.options = options;
    const suspects = options.takeOver === true || options.suspicion?.aborted === true;
    this.suspectedEpoch = suspects ? Number.POSITIVE_INFINITY : 0;
    this.patience = createPatience({ clock: options.clock, signal: options.signal, maxAttempts: CANDIDATE_ATTEMPTS });
    this.watches = [EPOCH_KEY, LEADER_PREFIX].map((prefix) => session.watch(prefix, () => this.bell.ring()));
    options.suspicion?.addEventListener("abort", this.onSuspicion);
    void session.ended.then(() => this.bell.ring());
  }

  close(): void {
    for (const watch of this.watches) watch.close();
    this.options.suspicion?.removeEventListener("abort", this.onSuspicion);
  }

  /** Resolves when this session has put the epoch. Rejects SESSION_ENDED, the signal's reason, STORE_FORMAT, WRONG_CLUSTER. */
  async win(): Promise<WonEpoch> {
    const place = await this.findPlace();
    let registered: StoredRecord | undefined;
    let refusals = 0;
    let seen = false;
    for (;;) {
      const scene = await this.look(seen);
      this.seenEpoch = scene.epoch?.record.epoch ?? 0;
      this.throwIfAnothersCluster(scene);
      if (scene.leaders.length > 0 && this.seenEpoch > this.suspectedEpoch) {
        registered ??= await this.register(place);
        const owner = scene.epoch?.record.candidate;
        this.options.onWaiting?.({ owner, reason: `it leads with epoch ${this.seenEpoch}` });
        await this.bell.wait(this.options.signal);
        seen = true;
        continue;
      }
      const outcome = await this.bump(scene, place, registered);
      if (typeof outcome === "object") return outcome;
      // Whoever was suspected has just been replaced by another.
      if (outcome === "epoch-moved") this.suspectedEpoch = 0;
      if (outcome === "candidate-gone") registered = undefined;
      seen = false;
      refusals++;
      if (outcome === "again" || refusals > 1) await this.patience.pause(refusals);
    }
  }

  /** One page of each: they are hints, and no cluster has that many masters. */
  async masters(signal: AbortSignal): Promise<SeenMasters> {
    const limit = this.limits.maxPageRecords;
    const pages = await Promise.all(
      [CANDIDATES_PREFIX, LEADER_PREFIX].map((prefix) => this.session.list({ prefix, limit }, { signal })),
    );
    return seenMasters(pages.flatMap(({ records }) => records));
  }

  /** About the leader that was last seen, so that its successor is not deposed for it. */
  private readonly onSuspicion = () => {
    this.suspectedEpoch = this.seenEpoch;
    this.bell.ring();
  };

  /** Only while that cluster lives: one that was stopped as a whole may come back with another secret. */
  private throwIfAnothersCluster({ epoch, leaders }: Scene): void {
    if (epoch === undefined || leaders.length === 0) return;
    const { binding, candidate } = epoch.record;
    if (binding === undefined || binding === (this.options.binding ?? "")) return;
    throw new CodedError(
      "WRONG_CLUSTER",
      `these records belong to the cluster that the master at ${candidate} leads, with another secret`,
      {
        hint: "Give this master that cluster's --secret-file, or a --recovery of its own. To change a cluster's secret, stop all its masters first.",
        details: { leader: candidate },
      },
    );
  }

  private async findPlace(): Promise<Place> {
    const others = await this.patience.keepTrying(() => this.list(CANDIDATES_PREFIX, false));
    const ordinal = Math.max(0, ...others.map((record) => ordinalOf(record.key))) + 1;
    return { key: candidateKey(ordinal, this.session.id), value: encodeCandidate(this.session.id, this.options.candidate) };
  }

  /** Puts the candidate record; repeating it after an unknown outcome does no harm, since the key is this session's own. */
  private async register({ key, value }: Place): Promise<StoredRecord> {
    return this.patience.keepTrying(async () => {
      const { signal } = this.options;
      const present = await this.session.get(key, { signal });
      if (present !== undefined) return present;
      await this.session.commit({ guards: [], writes: [{ put: key, value, ephemeral: true }] }, { signal });
      return { key, value, version: 0 };
    });
  }

  /**
   * All at once, so that a store far away is asked only once. The epoch comes first: who was elected after it was read is among the leaders.
   * `seen`: whoever waited has been told of what changed, and need not ask again: a take-over then costs one commit, whose guards refuse it if there
   * was more to see.
   */
  private look(seen: boolean): Promise<Scene> {
    return this.patience.keepTrying(async () => {
      const { signal } = this.options;
      const [epoch, cluster, leaders] = await Promise.all([
        this.session.get(EPOCH_KEY, { signal, seen }),
        this.session.get(CLUSTER_KEY, { signal, seen }),
        this.list(LEADER_PREFIX, seen),
      ]);
      return {
        epoch: epoch === undefined ? undefined : { record: decodeEpoch(epoch), version: epoch.version },
        leaders: leaders.map((record) => record.key),
        clusterId: cluster === undefined ? undefined : decodeClusterId(cluster),
      };
    });
  }

  /** A candidate that need not wait is registered by the same commit: a take-over costs one sync of the disk. */
  private async bump(
    scene: Scene,
    place: Place,
    registered: StoredRecord | undefined,
  ): Promise<WonEpoch | "epoch-moved" | "candidate-gone" | "again"> {
    const { candidate: note, minimumEpoch = 1, signal } = this.options;
    const epoch = Math.max((scene.epoch?.record.epoch ?? 0) + 1, minimumEpoch);
    const clusterId = scene.clusterId ?? this.options.clusterId;
    const guards: Guard[] = [
      scene.epoch === undefined ? { key: EPOCH_KEY, absent: true } : { key: EPOCH_KEY, version: scene.epoch.version },
    ];
    if (registered !== undefined) guards.push({ key: registered.key, version: registered.version });
    const writes: Write[] = [
      {
        put: EPOCH_KEY,
        value: encodeEpoch({ epoch, session: this.session.id, candidate: note, binding: this.options.binding ?? "" }),
      },
      { put: LAST_COMMIT_KEY, value: encodeLastCommit({ epoch, sequence: 0 }) },
      { put: leaderKey(epoch), value: encodeCandidate(this.session.id, note), ephemeral: true },
      // The epoch is read before the leaders: one that was elected in between has this epoch, and the guard refuses it.
      ...scene.leaders.filter((key) => key !== leaderKey(epoch)).map((key) => ({ delete: key })),
    ];
    if (registered === undefined) writes.push({ put: place.key, value: place.value, ephemeral: true });
    if (clusterId !== undefined && scene.clusterId === undefined) {
      guards.push({ key: CLUSTER_KEY, absent: true });
      writes.push({ put: CLUSTER_KEY, value: encodeClusterId(clusterId) });
    }
    try {
      const result = await this.session.commit({ guards, writes }, { signal });
      if (result.ok) return { epoch, epochVersion: result.versions.get(EPOCH_KEY) ?? versionAfter(scene), clusterId };
      return result.failedGuard.key === place.key ? "candidate-gone" : "epoch-moved";
    } catch (thrown) {
      if (!isPassing(thrown)) throw thrown;
    }
    return (await this.wonAfterAll(epoch, clusterId)) ?? "again";
  }

  /** After an unknown outcome: the epoch record tells whose it is. */
  private async wonAfterAll(epoch: number, clusterId: string | undefined): Promise<WonEpoch | undefined> {
    const record = await this.patience.keepTrying(() => this.session.get(EPOCH_KEY, { signal: this.options.signal }));
    if (record === undefined) return undefined;
    const present = decodeEpoch(record);
    return present.epoch === epoch && present.session === this.session.id
      ? { epoch, epochVersion: record.version, clusterId }
      : undefined;
  }

  private async list(prefix: string, seen: boolean): Promise<StoredRecord[]> {
    const { signal } = this.options;
    const records: StoredRecord[] = [];
    let after: string | undefined;
    do {
      const request = { prefix, limit: this.limits.maxPageRecords, ...(after === undefined ? {} : { after }) };
      const page = await this.session.list(request, { signal, seen });
      records.push(...page.records);
      after = page.next;
    } while (after !== undefined);
    return records;
  }
}

function versionAfter(scene: Scene): never {
  throw new CodedError(
    "INTERNAL",
    `invariant broken: the store did not tell the new version of ${EPOCH_KEY} after ${scene.epoch?.version ?? "none"}`,
  );
}
