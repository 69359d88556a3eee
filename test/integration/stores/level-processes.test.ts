/** LevelDB's lock as leadership between real processes: killed, stopped, waiting, handed over. */
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { hasCode } from "../../../src/base/errors.js";
import { OWNER_STOPPED_MS } from "../../../src/env/coordination-store.js";
import { waitFor } from "../../support/wait-for.js";
import { type LevelProcess, type LevelProcesses, levelProcesses } from "./level-processes.js";
import { temporaryDirectory, testLevelStore } from "./level-support.js";

let processes: LevelProcesses;
beforeAll(async () => {
  processes = await levelProcesses();
});
afterAll(() => processes.close());

async function inDirectory(run: (directory: string) => Promise<void>): Promise<void> {
  const directory = await temporaryDirectory();
  try {
    await run(directory.path);
  } finally {
    // Who leads at the end of a test goes on writing there, which a removal at the same time does not survive.
    await processes.end(directory.path);
    await directory.remove();
  }
}

async function acknowledgedBy(leader: LevelProcess): Promise<string[]> {
  await leader.gone;
  return leader.said.flatMap((message) => (message.kind === "acknowledged" ? [message.key] : []));
}

describe("processes on one LevelDB directory", () => {
  test("an owner killed while it writes is followed by its standby, and nothing acknowledged is lost", () =>
    inDirectory(async (directory) => {
      const acknowledged: string[] = [];
      const tookMs: number[] = [];
      let leader = processes.start(directory, "master-0");
      let { epoch } = await leader.hear("leading");
      for (let round = 1; round <= 6; round++) {
        const standby = processes.start(directory, `master-${round}`);
        await standby.hear("waiting");
        leader.tell("write");
        const enough = leader;
        await waitFor(() => enough.said.filter((message) => message.kind === "acknowledged").length > 20 * round);
        const killedAt = performance.now();
        leader.signal("SIGKILL");
        // What a connection to the dead leader would tell the standby; it may come before the kernel has freed the lock.
        standby.tell("nudge");
        const next = await standby.hear("leading");
        standby.tell("read");
        tookMs.push(performance.now() - killedAt);
        expect(next.epoch).toBe(epoch + 1);
        acknowledged.push(...(await acknowledgedBy(leader)));
        const { keys } = await standby.hear("records");
        const kept = new Set(keys);
        expect(acknowledged.filter((key) => !kept.has(key))).toEqual([]);
        leader = standby;
        epoch = next.epoch;
      }
      console.log(
        `kill -9 of the owner -> the standby leads: ${tookMs.map((ms) => ms.toFixed(1)).join(", ")} ms; ${acknowledged.length} acknowledged`,
      );
      leader.tell("exit");
      await leader.gone;
    }));

  test("owners killed at any moment, also while they open, leave a directory that the next one can use", () =>
    inDirectory(async (directory) => {
      const acknowledged: string[] = [];
      for (let round = 0; round < 8; round++) {
        const owner = processes.start(directory, `master-${round}`);
        if (round % 2 === 0) {
          await owner.hear("leading");
          owner.tell("write");
          await owner.hear("acknowledged");
        } else {
          // Somewhere in its start, its opening or its first commits: the moment is left to the machine on purpose.
          await delay(60 + round * 15);
        }
        owner.signal("SIGKILL");
        acknowledged.push(...(await acknowledgedBy(owner)));
      }
      const last = processes.start(directory, "last");
      await last.hear("leading");
      last.tell("read");
      const kept = new Set((await last.hear("records")).keys);
      expect(acknowledged.filter((key) => !kept.has(key))).toEqual([]);
      last.tell("exit");
      await last.gone;
    }));

  test("a second process waits, names the owner, and has the directory soon after a clean close, without a nudge", () =>
    inDirectory(async (directory) => {
      const owner = processes.start(directory, "holdfast://127.0.0.1:7077");
      await owner.hear("leading");
      const waiter = processes.start(directory, "second");
      const waiting = await waiter.hear("waiting");
      expect(waiting.owner).toBe("holdfast://127.0.0.1:7077");
      expect(waiting.reason).toContain(`locked by process ${owner.pid}, which is running`);
      const resignedAt = performance.now();
      owner.tell("resign");
      const { epoch } = await waiter.hear("leading");
      console.log(`planned hand-over: ${(performance.now() - resignedAt).toFixed(1)} ms`);
      expect(epoch).toBe(2);
      expect((await owner.hear("ended")).code).toBe("CLOSED");
      expect(waiter.said.filter((message) => message.kind === "failed")).toEqual([]);
    }));

  test("while the owner is stopped the waiter says so, and the owner goes on undisturbed when it is continued", () =>
    inDirectory(async (directory) => {
      const owner = processes.start(directory, "stopped-master");
      await owner.hear("leading");
      owner.tell("write");
      await owner.hear("acknowledged");
      const waiter = processes.start(directory, "waiter");
      await waiter.hear("waiting", ({ reason }) => reason.includes("which is running"));
      owner.signal("SIGSTOP");
      const stopped = await waiter.hear("waiting", ({ reason }) => reason.includes("which is stopped (SIGSTOP)"));
      expect(stopped).toMatchObject({ owner: "stopped-master", reason: expect.stringContaining(`kill -CONT ${owner.pid}`) });
      waiter.tell("nudge");
      const before = owner.said.length;
      owner.signal("SIGCONT");
      await waitFor(() => owner.said.length > before + 10);
      await waiter.hear("waiting", ({ reason }) => reason.includes("which is running"));
      expect(waiter.said.some((message) => message.kind === "leading")).toBe(false);
      owner.signal("SIGKILL");
      waiter.tell("nudge");
      expect((await waiter.hear("leading")).epoch).toBe(2);
    }));

  test("an owner that is stopped counts as stopped after a while, and no longer when it has gone on, however short", () =>
    inDirectory(async (directory) => {
      const owner = processes.start(directory, "stopped-master");
      await owner.hear("leading");
      const store = testLevelStore(directory);
      const stop = new AbortController();
      const open = store.openSession({ ttlMs: 6_000, signal: stop.signal, candidate: "waiter" }).catch(() => {});
      const stopped = () => store.stoppedOwner?.() ?? null;
      expect(stopped()).toBeNull();
      const stoppedAt = performance.now();
      owner.signal("SIGSTOP");
      await waitFor(() => stopped() === "stopped-master");
      expect(performance.now() - stoppedAt).toBeGreaterThan(OWNER_STOPPED_MS);
      owner.signal("SIGCONT");
      const before = owner.said.length;
      owner.tell("write");
      await waitFor(() => owner.said.length > before);
      owner.signal("SIGSTOP");
      expect(stopped()).toBeNull();
      await waitFor(() => stopped() === "stopped-master");
      owner.signal("SIGKILL");
      await owner.gone;
      expect(stopped()).toBeNull();
      stop.abort(new Error("enough"));
      await open;
      await store.close();
    }));

  test("a second store of the owning process waits too, and its attempts do not free the lock for other processes", () =>
    inDirectory(async (directory) => {
      const signal = AbortSignal.timeout(60_000);
      const [first, second] = [testLevelStore(directory), testLevelStore(directory)];
      const session = await first.openSession({ ttlMs: 6_000, signal, candidate: "first" });
      const waiting: string[] = [];
      const open = second.openSession({
        ttlMs: 6_000,
        signal,
        candidate: "second",
        onWaiting: ({ owner }) => waiting.push(String(owner)),
      });
      await waitFor(() => waiting.length > 0);
      second.nudge();
      const other = processes.start(directory, "other");
      expect((await other.hear("waiting")).owner).toBe("first");
      other.signal("SIGKILL");
      await other.gone;
      await session.close();
      await (await open).close();
      expect(waiting[0]).toBe("first");
      await Promise.all([first.close(), second.close()]);
      expect(
        hasCode(await first.openSession({ ttlMs: 1, signal, candidate: "" }).catch((thrown: unknown) => thrown), "CLOSED"),
      ).toBe(true);
    }));
});
