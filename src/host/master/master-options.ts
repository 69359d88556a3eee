/** What a master host is given, and what it is from outside; see master-host.ts. */
import type { CodedError } from "../../base/errors.js";
import type { BundleStore } from "../../env/bundle-store.js";
import type { CoordinationStore } from "../../env/coordination-store.js";
import type { Env } from "../../env/env.js";
import { DEFAULT_MASTER_SETTINGS, type MasterSettings } from "../../master/settings.js";
import { fenceMsFor } from "../../wire/partition-lease.js";
import type { MasterState } from "../../wire/views.js";
import type { ElectionPace } from "./election-pace.js";

/** Of its session with the store: so long a lost machine stays unnoticed. */
export const DEFAULT_SESSION_TTL_MS = 10_000;

export interface MasterHostOptions {
  readonly env: Env;
  /** `[A-Za-z0-9._-]{1,128}`, unique among the cluster's masters. */
  readonly masterId: string;
  readonly pid: number;
  /** Which build of Holdfast this is, for people. Default: it does not say. */
  readonly build?: string;
  /** `host:port`; port 0 chooses one. */
  readonly listen: string;
  /** What others are told instead of the address listened on. */
  readonly publicAddress?: string;
  readonly store: CoordinationStore;
  /** none: the store forgets with this process, and what runs is rebuilt from reports. */
  readonly mode: "none" | "store";
  /** Job bundles, where every master of the cluster reaches them. */
  readonly bundles: BundleStore;
  /** Removes what an application kept there; harmless when it is gone. Absent: only drivers remove it. */
  readonly removeState?: (storage: string, applicationId: string) => Promise<void>;
  readonly secret: Uint8Array | null;
  readonly settings?: Partial<MasterSettings>;
  /** For a store that has no id yet. Default: a random one; with mode `none` a fixed one, so that workers know a restarted master again. */
  readonly clusterId?: string;
  /** Default: DEFAULT_SESSION_TTL_MS. */
  readonly sessionTtlMs?: number;
  /**
   * With a store on other machines: how long after a leader was lost with its machine the next one leads at the latest (its session, and what the
   * store adds). 0: the store's lock is free as soon as its owner is dead.
   */
  readonly silentFailoverMs?: number;
  readonly onState?: (state: MasterState, epoch: number) => void;
  /** Addresses of masters that are written down somewhere (the advertise file), for whoever asks while nobody leads. */
  readonly otherMasters?: () => Promise<readonly string[]>;
  /** Default: that of election-pace.ts. */
  readonly pace?: ElectionPace;
}

export interface MasterHost {
  state(): MasterState;
  epoch(): number;
  /** What others are told. */
  readonly address: string;
  /** Resolves with null after `close`, or with why it can never lead (the store cannot be used). */
  readonly ended: Promise<CodedError | null>;
  /** Resigns first, so that a standby takes over at once. */
  close(): Promise<void>;
}

/** After a failover: until a worker has found the new leader and renewed. */
const LEASE_MARGIN_MS = 2_000;

export function settingsOf(options: MasterHostOptions): MasterSettings {
  const settings = { ...DEFAULT_MASTER_SETTINGS, ...options.settings };
  // With short deadlines heartbeats come often enough for three of them to be missed.
  const heartbeatMs = Math.ceil(Math.min(settings.heartbeatMs, settings.workerDeadlineMs / 4, settings.driverDeadlineMs / 4));
  // A leader that is lost in silence is followed by the next one so much later: leases have to outlast that, or every failover would end them.
  const silentMs = options.silentFailoverMs ?? 0;
  const leaseMs = silentMs === 0 ? 0 : silentMs + LEASE_MARGIN_MS;
  const programFenceMs = Math.max(settings.programFenceMs, fenceMsFor(settings.workerDeadlineMs, leaseMs));
  const deposedWithinMs = Math.max(settings.deposedWithinMs, silentMs);
  return { ...settings, heartbeatMs, programFenceMs, deposedWithinMs };
}
