/** Records that a master cannot read, in the real store: shown, kept byte for byte, and in nobody's way. */
import path from "node:path";
import { expect } from "vitest";
import { createNodeClock } from "../../../src/node/clock.js";
import { createLevelStore } from "../../../src/node/level-store/level-store.js";
import { until } from "../../support/holdfast.js";
import { kill, PATIENT, scenario } from "../../support/scenario.js";

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const bytes = (words: string) => new TextEncoder().encode(words);

/** The records of a directory that no master owns now, after `change` of some of them. */
async function records(
  directory: string,
  change: (stored: ReadonlyMap<string, Uint8Array>) => ReadonlyMap<string, Uint8Array> = () => new Map(),
): Promise<ReadonlyMap<string, Uint8Array>> {
  const { signal } = new AbortController();
  const store = createLevelStore({ directory: path.join(directory, "records"), clock: createNodeClock() });
  try {
    const session = await store.openSession({ ttlMs: 10_000, signal, candidate: "a test" });
    const read = async () => {
      const page = await session.list({ prefix: "records/", limit: 1_000 }, { signal });
      return new Map(page.records.map((record) => [record.key.slice("records/".length), record.value]));
    };
    const writes = [...change(await read())].map(([key, value]) => ({ put: `records/${key}`, value }));
    if (writes.length > 0) expect(await session.commit({ guards: [], writes }, { signal })).toMatchObject({ ok: true });
    const stored = await read();
    await session.close();
    return stored;
  } finally {
    await store.close();
  }
}

scenario(
  "damaged and newer records are shown and kept byte for byte; everything else is recovered",
  async (stage) => {
    const first = stage.master();
    const worker = stage.worker({ cores: 4 });
    const kept = await stage.ticker();
    const newer = await stage.program(["sh", "-c", "sleep 600"], { supervise: true }, "newer");
    const damaged = await stage.program(["true"], {}, "damaged");
    await stage.runs(newer);
    await stage.ended(damaged);
    const ofKept = await stage.footprint(kept);
    const pidOfNewer = (await stage.status(newer)).driver?.pid ?? 0;
    const [{ id: workerId } = { id: "" }] = await stage.workerViews();
    await kill(first);

    const directory = stage.cluster.file("state");
    const unreadable = new Map<string, Uint8Array>();
    await records(directory, (stored) => {
      const change = (key: string, to: (old: string) => Uint8Array) =>
        unreadable.set(key, to(text(stored.get(key) ?? new Uint8Array())));
      change(`applications/${newer}`, (old) => bytes(old.replace('{"v":1,', '{"v":7,"since":"a later release",')));
      change(`applications/${damaged}`, () => new Uint8Array([0xff, 0x00, 0xfe, 0x7b]));
      change(`workers/${workerId}`, (old) => bytes(old.slice(0, -3)));
      return unreadable;
    });

    const second = stage.master();
    await stage.valid(1, 1);
    const shown = await stage.command(["cluster"]);
    expect(shown.stdout).toMatch(
      new RegExp(`quarantined +applications/${newer}: of version 7, this program knows versions up to 1`),
    );
    expect(shown.stdout).toMatch(new RegExp(`quarantined +applications/${damaged}: not UTF-8`));
    expect(shown.stdout).toMatch(new RegExp(`quarantined +workers/${workerId}: not JSON`));
    for (const key of unreadable.keys()) expect(second.log()).toContain(`The record ${key} cannot be read`);

    // The rest goes on: what ran, runs undisturbed; new work is taken. What cannot be read is neither stopped nor run again.
    await stage.undisturbed(kept, ofKept);
    expect((await stage.ended(await stage.program(["true"]))).state).toBe("finished");
    expect(() => process.kill(pidOfNewer, 0)).not.toThrow();
    const again = await stage.command(["submit", "--id", "newer", "--", "sh", "-c", "sleep 600"]);
    expect(again).toMatchObject({ exitCode: 4, stderr: expect.stringContaining("RECORD_QUARANTINED") });
    expect((await stage.command(["status", damaged])).stderr).toContain("RECORD_QUARANTINED");

    // The worker is drained, and stopped: its unreadable record is not written even then.
    expect(await stage.command(["drain", workerId])).toMatchObject({ exitCode: 0 });
    worker.signal("SIGTERM");
    await worker.exited;
    await until("the worker to be away", async () => (await stage.view()).workers.alive === 0);
    await kill(second);
    const after = await records(directory);
    for (const [key, value] of unreadable) expect(after.get(key), key).toEqual(value);
  },
  { deadlines: PATIENT },
);
