/**
 * A master as small as a driver can live with, in the test's process: takes the registration, starts real executor processes, keeps `wanted`
 * of them alive, records what the driver decides. No store, no workers, no recovery.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { CodedError } from "../../../src/base/errors.js";
import type { Env } from "../../../src/env/env.js";
import type { Link, LinkMessage } from "../../../src/host/link/link.js";
import { applicationKeyHex, keysOfCluster } from "../../../src/host/link/link-keys.js";
import { type LinkListener, listenLinks } from "../../../src/host/link/link-listener.js";
import { createNodeEnv } from "../../../src/node/env.js";
import { programPath } from "../../../src/node/programs.js";
import type { ApplicationRecord, CommitManifest } from "../../../src/wire/application.js";
import { driverNotices, driverRequests, type driverToMaster, type ExecutorView } from "../../../src/wire/driver-messages.js";
import type { BodyOf } from "../../../src/wire/envelope.js";
import { driverProcessId, executorProcessId } from "../../../src/wire/ids.js";
import type { Progress } from "../../../src/wire/progress.js";
import type { RunnerStart } from "../../../src/wire/runner-start.js";
import { quietLog } from "../../support/manual-clock.js";

type Registration = BodyOf<typeof driverToMaster, "driver.register">;
type Finished = BodyOf<typeof driverToMaster, "driver.finished">;

export interface StartedProcess {
  readonly processId: string;
  readonly child: ChildProcess;
  readonly ended: Promise<{ readonly exitCode: number | null; readonly signal: string | null }>;
  log(stream: "stdout" | "stderr"): string;
}

export class SmallMaster {
  readonly folder: string;
  readonly bundle: string;
  application: ApplicationRecord;
  epoch: number;
  registrations: Registration[] = [];
  progress: Progress | null = null;
  commit: CommitManifest | null = null;
  finished: Finished | null = null;
  readonly executors = new Map<string, StartedProcess & { state: ExecutorView["state"] }>();
  readonly drivers: StartedProcess[] = [];
  /** What to say to a commit: undefined, to accept it. */
  refuseCommit: (() => CodedError | undefined) | null = null;
  /** Executors are made of spares. */
  spares = false;
  /** Told of a commit after it is "durable", before the driver hears of it. */
  onCommit: () => void = () => undefined;
  private readonly env: Env;
  private listener: LinkListener | null = null;
  private driver: Link | null = null;
  private wanted = 0;
  private sequence = 0;

  constructor(folder: string, bundle: string, application: ApplicationRecord, epoch = 1) {
    this.folder = folder;
    this.bundle = bundle;
    this.application = application;
    this.epoch = epoch;
    this.env = createNodeEnv({ log: quietLog });
  }

  get address(): string {
    return this.listener?.address ?? "";
  }

  async listen(address = "127.0.0.1:0"): Promise<void> {
    this.listener = await listenLinks({
      env: this.env,
      address,
      role: "master",
      id: "master-1",
      roles: ["driver"],
      clusterId: () => "test",
      keyFor: keysOfCluster(this.env.digest, null),
      facts: () => ({ state: "ALIVE", leader: null }),
      epoch: () => this.epoch,
      incoming: driverNotices,
      requests: driverRequests,
      heartbeatMs: 500,
      silenceMs: 5_000,
      onLink: (link) => {
        this.driver = link;
        void link.ended.then(() => {
          // Nobody to start executors for.
          if (this.driver === link) this.wanted = 0;
        });
        link.onMessage((message) => this.hear(link, message));
      },
    });
  }

  /** As when its process is killed: the port is closed, its links break. */
  async die(): Promise<void> {
    this.driver?.destroy();
    this.driver = null;
    await this.listener?.close();
  }

  send(kind: string, body: unknown): void {
    this.driver?.send(kind, body);
  }

  startDriver(masterUrl = `holdfast://${this.address}`): StartedProcess {
    const processId = driverProcessId(this.application.id, this.application.attempt);
    const started = this.launch("driver", processId, null, masterUrl);
    this.drivers.push(started);
    return started;
  }

  /** The driver is to be started again, as another attempt. */
  nextAttempt(): void {
    this.wanted = 0;
    this.sequence = 0;
    this.application = { ...this.application, attempt: this.application.attempt + 1, restarts: this.application.restarts + 1 };
  }

  startClientDriver(): StartedProcess {
    const processId = driverProcessId(this.application.id, this.application.attempt);
    const started = this.spawn(processId, path.join(this.folder, processId), ["client-driver"]);
    const start = this.startOf("driver", processId, null, `holdfast://${this.address}`);
    started.child.stdin?.write(`${JSON.stringify(start)}\n`);
    this.drivers.push(started);
    return started;
  }

  unusedSpare(): StartedProcess["ended"] {
    const { child, ended } = this.spawn("spare", path.join(this.folder, "spare"), ["spare"]);
    child.stdin?.end();
    return ended;
  }

  async stopAll(): Promise<void> {
    this.wanted = 0;
    const all = [...this.drivers, ...this.executors.values()];
    for (const { child } of all) child.kill("SIGKILL");
    await Promise.all(all.map(({ ended }) => ended));
    await this.die();
  }

  private hear(link: Link, { kind, body, requestId }: LinkMessage): void {
    if (kind === "driver.progress") this.progress = body as Progress;
    if (kind === "driver.executors") this.keep((body as { wanted: number }).wanted);
    if (requestId === null) return;
    if (kind === "driver.register") {
      this.registrations.push(body as Registration);
      link.reply(requestId, { clusterId: "test", heartbeatMs: 500, deadlineMs: 5_000, application: this.application });
      this.keep((body as Registration).wanted);
    }
    if (kind === "driver.commit") {
      const refused = this.refuseCommit?.();
      if (refused !== undefined) {
        link.replyError(requestId, refused.toShape());
        return;
      }
      this.commit = body as CommitManifest;
      this.application = { ...this.application, commit: this.commit };
      this.onCommit();
      link.reply(requestId, {});
    }
    if (kind === "driver.finished") {
      this.finished = body as Finished;
      link.reply(requestId, {});
    }
  }

  private keep(wanted: number): void {
    this.wanted = wanted;
    const alive = [...this.executors.values()].filter(({ state }) => state === "running").length;
    for (let missing = wanted - alive; missing > 0; missing--) this.startExecutor();
  }

  private startExecutor(): void {
    const registration = this.registrations.at(-1);
    if (registration === undefined) return;
    this.sequence += 1;
    const processId = executorProcessId(this.application.id, registration.attempt, this.sequence);
    const executor = { ...this.launch("executor", processId, registration.address, ""), state: "running" as ExecutorView["state"] };
    this.executors.set(processId, executor);
    void executor.ended.then(({ exitCode, signal }) => {
      executor.state = "ended";
      const reason = signal === null ? `exit code ${exitCode}` : `signal ${signal}`;
      const view: ExecutorView = { processId, workerId: "w", pid: executor.child.pid ?? null, state: "ended", reason };
      this.send("driver.executors", { executors: [view] });
      this.keep(this.wanted);
    });
  }

  private launch(role: "driver" | "executor", processId: string, driverAddress: string | null, masterUrl: string): StartedProcess {
    const folder = path.join(this.folder, processId);
    mkdirSync(folder, { recursive: true });
    const start = this.startOf(role, processId, driverAddress, masterUrl);
    const startFile = path.join(folder, "start.json");
    writeFileSync(startFile, JSON.stringify(start), { mode: 0o600 });
    const isSpare = role === "executor" && this.spares;
    const started = this.spawn(processId, folder, isSpare ? ["spare"] : [role, startFile]);
    if (isSpare) started.child.stdin?.end(`${JSON.stringify({ role, startFile })}\n`);
    return started;
  }

  private startOf(role: "driver" | "executor", processId: string, driverAddress: string | null, masterUrl: string): RunnerStart {
    return {
      role,
      processId,
      application: this.application,
      applicationKey: applicationKeyHex(this.env.digest, null, this.application.id),
      driverAddress,
      masterUrl,
      artifactPath: this.bundle,
      listenHost: "127.0.0.1",
      workerId: "w",
      epoch: 0,
    };
  }

  /** Its input, a pipe, is the caller's. */
  private spawn(processId: string, folder: string, args: readonly string[]): StartedProcess {
    mkdirSync(folder, { recursive: true });
    const log = (stream: string) => path.join(folder, `${stream}.log`);
    const child = spawn(process.execPath, [programPath("runner"), ...args], {
      cwd: folder,
      stdio: ["pipe", openSync(log("stdout"), "a"), openSync(log("stderr"), "a")],
    });
    const ended = new Promise<{ exitCode: number | null; signal: string | null }>((resolve) => {
      child.on("exit", (exitCode, signal) => resolve({ exitCode, signal }));
    });
    return { processId, child, ended, log: (stream) => readFileSync(log(stream), "utf8") };
  }
}
