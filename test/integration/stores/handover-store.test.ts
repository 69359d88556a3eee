/** Hand-overs on the real store of one machine and real connections, within one process: the lock goes from one master to the other and back. */
import { mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { expect, test } from "vitest";
import { startClient } from "../../../src/host/client/client.js";
import { type MasterHost, runMasterHost } from "../../../src/host/master/master-host.js";
import { createNodeEnv } from "../../../src/node/env.js";
import { createFileBundles } from "../../../src/node/files/bundle-store.js";
import { createLevelStore } from "../../../src/node/level-store/level-store.js";
import { until } from "../../support/holdfast.js";
import { quietLog } from "../../support/manual-clock.js";
import { programSpec } from "../../unit/master/harness.js";

test("ten hand-overs of a LevelDB store under load: the epoch grows by one each time, no call fails, nothing is lost", async () => {
  const directory = await mkdtemp(path.join(os.tmpdir(), "holdfast-handover-"));
  const env = createNodeEnv({ log: quietLog });
  const control = new AbortController();
  const bundles = await createFileBundles(path.join(directory, "blobs"));
  const stores = [0, 1, 2].map(() => createLevelStore({ directory: path.join(directory, "records"), clock: env.clock }));
  const masters: MasterHost[] = [];
  try {
    for (const [number, store] of stores.entries()) {
      const given = { env, masterId: `m${number}`, pid: process.pid, listen: "127.0.0.1:0", store, bundles, secret: null };
      masters.push(await runMasterHost({ ...given, mode: "store" }));
      await until("it to lead or to follow", () => masters.every((master) => master.epoch() === 1));
    }
    const client = startClient({
      env,
      masterUrl: masters.map(({ address }) => address).join(","),
      readFile: () => Promise.reject(new Error("no file")),
      secret: null,
      signal: control.signal,
      timeoutMs: 20_000,
    });
    const call = { signal: control.signal, timeoutMs: 20_000 };
    const ids = new Map<string, string>();
    let over = false;
    const traffic = (async () => {
      for (let count = 0; !over; count++) {
        const { id } = await client.call("submit", { key: `key-${count}`, spec: programSpec() }, call);
        ids.set(`key-${count}`, id);
      }
    })();
    for (let turn = 1; turn <= 10; turn++) {
      const standby = masters.filter((master) => master.state() === "STANDBY").at(turn % 2);
      const to = turn % 3 === 0 ? null : (standby?.address ?? null);
      expect(await client.call("handover", { epoch: turn, to }, call)).toMatchObject({ handedOver: true, epoch: turn });
      await until("the next one to lead", () =>
        masters.some((master) => master.state() === "ALIVE" && master.epoch() === turn + 1),
      );
      if (to !== null) expect(masters.find((master) => master.state() !== "STANDBY")?.address).toBe(to);
      await until("the others to follow", () => masters.every((master) => master.epoch() === turn + 1));
    }
    over = true;
    await traffic;
    expect(ids.size).toBeGreaterThan(10);
    expect(new Set(ids.values()).size).toBe(ids.size);
    const { applications } = await client.call("list", {}, call);
    expect(applications.map(({ id }) => id).sort()).toEqual([...ids.values()].sort());
    await client.close();
  } finally {
    control.abort();
    await Promise.all(masters.map((master) => master.close()));
    await Promise.all(stores.map((store) => store.close()));
    await rm(directory, { recursive: true, force: true });
  }
}, 60_000);
