/** Client processes: the product's client library, driven by the workload; started again when they are killed. */
import { CodedError } from "../base/errors.js";
import { sleep } from "../env/clock.js";
import { type Client, startClient } from "../host/client/client.js";
import { uploadArtifact, waitForEnd } from "../host/client/client-follow.js";
import { applicationKeyHex } from "../host/link/link-keys.js";
import type { ApplicationRecord } from "../wire/application.js";
import { driverProcessId } from "../wire/ids.js";
import type { Cluster } from "./cluster.js";
import { simDigest } from "./digest.js";
import { Operator } from "./operator.js";
import { startJobDriver } from "./runners.js";
import type { SeededRandom } from "./seed.js";
import { contentHashOf, type Submission } from "./workload.js";
import type { SimProcess } from "./world.js";

const CALL_MS = 20_000;
const RETRY_MS = 500;
const KEPT = 1_000;

/** What is known of a submission outside all processes: the account that checkers compare with. */
export interface Account {
  readonly submission: Submission;
  id: string | null;
  cancelAcknowledgedAt: number | null;
  /** As some client has read it; null: not seen to have ended. */
  finalState: string | null;
  exitCode: number | null;
}

/**
 * Nobody aborts it: what waits goes with its process. One for each wait, so that a signal with many listeners is one of the product's
 * (sim-run.ts takes that for a leak).
 */
const forEver = (): AbortSignal => new AbortController().signal;

export class ClientSlot {
  readonly name: string;
  readonly machine: string;
  readonly accounts: readonly Account[];
  process: SimProcess | null = null;
  private readonly cluster: Cluster;
  private readonly random: SeededRandom;
  /** Whose submissions it sends again. */
  private readonly repeated: () => readonly Account[];
  /** A client-mode driver lives in the client's process tree. */
  private readonly children = new Set<SimProcess>();
  private readonly started = new Set<string>();
  /** The first client is the operator too. */
  private readonly operator: Operator | null;

  constructor(cluster: Cluster, name: string, accounts: readonly Account[], repeated: () => readonly Account[]) {
    this.cluster = cluster;
    this.name = name;
    this.machine = name;
    this.accounts = accounts;
    this.repeated = repeated;
    this.random = cluster.world.random.fork(`client ${name}`);
    this.operator = name === "c1" ? new Operator(cluster, this.random.fork("operator")) : null;
  }

  isDone(): boolean {
    return this.accounts.every(({ id, finalState }) => finalState !== null || this.cluster.parked.has(id ?? ""));
  }

  start(): void {
    const { world } = this.cluster;
    const process = this.cluster.spawn(this.name, this.machine);
    this.process = process;
    process.onDeath(() => {
      for (const child of this.children) child.kill();
      this.children.clear();
      this.process = null;
      world.schedule(world.now() + this.cluster.restartDelayMs(), "client again", () => this.start());
    });
    world.schedule(world.now(), "start client", () => this.run(process), process);
  }

  private run(process: SimProcess): void {
    const client = this.connect(process);
    for (const account of this.accounts) void this.carryOut(process, client, account);
    for (const account of this.repeated()) void this.repeat(process, client, account);
    void this.operator?.run(client, forEver());
  }

  private connect(process: SimProcess): Client {
    const client = startClient({
      env: this.cluster.env(process),
      masterUrl: this.cluster.masterUrl,
      readFile: this.cluster.readFile,
      secret: this.cluster.secret,
      ...this.cluster.options.heartbeats,
      signal: forEver(),
      timeoutMs: CALL_MS,
    });
    return { ...client, call: (name, input, options) => this.seen(process, name, client.call(name, input, options)) };
  }

  /** Every answered read is told to the checkers. */
  private async seen<T>(process: SimProcess, name: string, answer: Promise<T>): Promise<T> {
    const value = await answer;
    if (name === "status") {
      const { version, application } = value as unknown as {
        readonly version: string;
        readonly application: { readonly id: string; readonly state: string; readonly attempt: number };
      };
      const [epoch = "0", number = "0"] = version.split(".");
      const { id, state, attempt } = application;
      this.cluster.tell((observer) =>
        observer.client?.(process, { kind: "read", id, epoch: Number(epoch), version: Number(number), state, attempt }),
      );
    }
    return value;
  }

  private async carryOut(process: SimProcess, client: Client, account: Account): Promise<void> {
    const { submission } = account;
    const { clock } = client.env;
    if (account.finalState !== null) return;
    await sleep(clock, Math.max(0, submission.submitAtMs - clock.now()), forEver());
    if (submission.isDoubled) void this.submit(process, client, account);
    for (;;) {
      const id = await this.submit(process, client, account);
      account.id = id;
      if (submission.spec.deployMode === "client") this.startDriver(process, client, account, id);
      if (submission.cancelAfterMs !== null || submission.isImpossible) void this.cancel(client, account, id, process);
      const view = await this.follow(client, id);
      if (view === null) {
        // Without recovery a restarted master may have lost it: the user sends it again.
        this.started.delete(id);
        account.cancelAcknowledgedAt = null;
        continue;
      }
      account.finalState = view.state;
      account.exitCode = view.exitCode;
      return;
    }
  }

  /** Until it is acknowledged. */
  private async submit(process: SimProcess, client: Client, account: Account): Promise<string> {
    const { key, spec, bundle } = account.submission;
    for (;;) {
      try {
        if (bundle !== null) await uploadArtifact(client, bundle, { signal: forEver(), timeoutMs: CALL_MS });
        this.cluster.tell((observer) => observer.client?.(process, { kind: "submitting", key }));
        const { id, created } = await client.call("submit", { key, spec }, { signal: forEver(), timeoutMs: CALL_MS });
        this.cluster.tell((observer) => observer.client?.(process, { kind: "submitted", key, id, created }));
        return id;
      } catch (thrown) {
        this.expect(thrown, ["NO_MASTER", "DISK_FAILED", "NOT_FOUND", "TIMEOUT"]);
        await sleep(client.env.clock, RETRY_MS, forEver());
      }
    }
  }

  private async repeat(process: SimProcess, client: Client, account: Account): Promise<void> {
    const { submitAtMs, repeatAfterMs } = account.submission;
    const { clock } = client.env;
    await sleep(clock, Math.max(0, submitAtMs + (repeatAfterMs ?? 0) - clock.now()), forEver());
    // Where it may be forgotten already, sending it again would make another one.
    const { mode, settings } = this.cluster.options;
    if (account.finalState !== null && (mode === "none" || (settings.maxFinished ?? KEPT) < KEPT)) return;
    await this.submit(process, client, account);
  }

  private async follow(client: Client, id: string) {
    for (;;) {
      try {
        return await waitForEnd(client, id, { signal: forEver(), timeoutMs: CALL_MS });
      } catch (thrown) {
        if (CodedError.from(thrown).code === "NOT_FOUND") return null;
        this.expect(thrown, ["NO_MASTER", "TIMEOUT"]);
        await sleep(client.env.clock, RETRY_MS, forEver());
      }
    }
  }

  private async cancel(client: Client, account: Account, id: string, process: SimProcess): Promise<void> {
    const { clock } = client.env;
    const { cancelAfterMs, submitAtMs } = account.submission;
    const at = submitAtMs + (cancelAfterMs ?? this.cluster.options.safetyMs);
    await sleep(clock, Math.max(0, at - clock.now()), forEver());
    while (account.cancelAcknowledgedAt === null && account.finalState === null) {
      try {
        const { state } = await client.call("cancel", { application: id }, { signal: forEver(), timeoutMs: CALL_MS });
        account.cancelAcknowledgedAt = clock.now();
        this.cluster.tell((observer) => observer.client?.(process, { kind: "cancelled", id, state }));
      } catch (thrown) {
        if (CodedError.from(thrown).code === "NOT_FOUND") return;
        this.expect(thrown, ["NO_MASTER", "TIMEOUT"]);
        await sleep(clock, RETRY_MS, forEver());
      }
    }
  }

  /** As cli/client-driver.ts: the driver is a child of the command, and goes with it. */
  private startDriver(process: SimProcess, client: Client, account: Account, id: string): void {
    if (this.started.has(id)) return;
    this.started.add(id);
    const { cluster } = this;
    const { key, spec } = account.submission;
    const processId = driverProcessId(id, 1);
    const child = cluster.spawn(processId, this.machine);
    this.children.add(child);
    const runner = {
      process: child,
      env: cluster.env(child),
      random: cluster.world.random.fork(`${child.id} run`),
      sinks: cluster.sinks,
      counting: cluster.counting,
      heartbeats: cluster.options.heartbeats,
      mutant: cluster.mutant,
      successor: () => null,
      exit: () => {
        this.children.delete(child);
        child.kill();
      },
      readFile: cluster.readFile,
    };
    const application: ApplicationRecord = {
      id,
      submissionKey: key,
      contentHash: contentHashOf(spec),
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
      submittedAt: client.env.clock.wallNow(),
      startedAt: null,
      endedAt: null,
      driver: null,
      order: 0,
      attempts: [],
    };
    const start = {
      role: "driver" as const,
      processId,
      application,
      applicationKey: applicationKeyHex(simDigest, cluster.secret, id),
      driverAddress: null,
      masterUrl: cluster.masterUrl,
      artifactPath: "job.mjs",
      listenHost: this.machine,
      workerId: "client",
      epoch: 0,
    };
    cluster.world.schedule(
      cluster.world.now() + this.random.between(50, 200),
      "client driver",
      () => startJobDriver(runner, start, "cancel"),
      child,
    );
    if (process.state === "dead") child.kill();
  }

  private expect(thrown: unknown, codes: readonly string[]): void {
    const error = CodedError.from(thrown);
    if (!codes.includes(error.code)) {
      this.cluster.world.fail(
        new Error(`a client got an answer that no user should get: ${error.code} ${error.message}`, { cause: thrown }),
      );
    }
  }
}
