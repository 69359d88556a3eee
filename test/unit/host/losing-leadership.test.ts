/** However leadership is lost, the master stands by in the same process, and may lead again; nothing acknowledged is lost by it. */
import { expect, test } from "vitest";
import type { ErrorCode } from "../../../src/base/errors.js";
import { campaign } from "../../../src/coordination/leadership.js";
import type { Log } from "../../../src/env/log.js";
import type { MasterState } from "../../../src/wire/views.js";
import { programSpec } from "../master/harness.js";
import { type MasterStage, never, openMasterStage, type StagedMaster } from "./master-stage.js";

interface Loss {
  readonly why: string;
  /** The code with which the log says so. */
  readonly code: ErrorCode;
  lose(stage: MasterStage, master: StagedMaster): Promise<void>;
  /** What ends the fault. */
  heal?(stage: MasterStage, master: StagedMaster): Promise<void>;
}

const submit = (stage: MasterStage, key: string) =>
  stage
    .link("m1:7077")
    .then((link) => stage.drive(link.request("submit", { key, spec: programSpec() }, { signal: never, timeoutMs: 20_000 })))
    .then(
      (answer) => (answer as { readonly id: string }).id,
      () => null,
    );

const LOSSES: readonly Loss[] = [
  {
    why: "it is fenced: another master has taken the epoch",
    code: "FENCED",
    lose: async (stage) => {
      const other = { candidate: "other:1", ttlMs: 10_000, clock: stage.env.clock, signal: never, takeOver: true };
      const leadership = await stage.drive(campaign(stage.memory, other));
      await stage.env.clock.advance(1_000);
      await stage.drive(leadership.resign());
    },
  },
  {
    why: "its session has expired",
    code: "SESSION_ENDED",
    lose: (_stage, master) => master.store.expireSessions(),
  },
  {
    why: "the store is silent: it answers no more",
    code: "SESSION_ENDED",
    lose: async (stage, master) => {
      master.store.disconnect("hang");
      await stage.env.clock.advance(30_000);
    },
    heal: async (_stage, master) => master.store.reconnect(),
  },
  {
    why: "the store refuses every connection",
    code: "CONNECTION_LOST",
    lose: async (stage) => {
      stage.fault = (call) => (call.kind === "commit" ? { outcome: "connection-lost" } : undefined);
      expect(await submit(stage, "refused")).toBeNull();
    },
    heal: async (stage) => {
      stage.fault = () => undefined;
    },
  },
  {
    why: "the disk of the store failed",
    code: "DISK_FAILED",
    lose: async (stage, master) => {
      master.store.failNextCommit("disk-failed-not-applied");
      expect(await submit(stage, "not-written")).toBeNull();
    },
  },
];

test.each(LOSSES)("a leader goes on as a standby when $why, and leads again", async ({ code, lose, heal }) => {
  const stage = openMasterStage();
  try {
    const states: MasterState[] = [];
    const codes: unknown[] = [];
    const note: Log["warn"] = (message, fields) => void (message.startsWith("Deposed") && codes.push(fields?.code));
    const log: Log = { debug() {}, info: note, warn: note, error: note };
    const master = await stage.master("m1", { env: { ...stage.env, log }, onState: (state) => void states.push(state) });
    let isOver = false;
    void master.host.ended.then(() => {
      isOver = true;
    });
    await stage.until("it leads", () => master.host.state() === "ALIVE");
    const id = await submit(stage, "kept");
    const { length } = states;
    await lose(stage, master);
    await stage.until("it stands by", () => states.slice(length).includes("STANDBY"));
    await heal?.(stage, master);
    await stage.until("it leads again", () => states.slice(length).includes("ALIVE") && master.host.state() === "ALIVE");
    expect(codes).toEqual([code]);
    expect(isOver).toBe(false);
    expect(master.host.epoch()).toBeGreaterThan(1);
    expect(await submit(stage, "kept")).toBe(id);
  } finally {
    await stage.close();
  }
});
