/** A leader that was stopped and goes on: what it missed meanwhile is held against nobody. */
import { describe, expect, test } from "vitest";
import { OWNER_STOPPED_MS } from "../../../src/env/coordination-store.js";
import { LEADER_AWAY_MS, PULSE_MS } from "../../../src/master/away.js";
import { CLOCK_RATE_ERROR } from "../../../src/wire/partition-lease.js";
import { jobSpec, programSpec, TestDriver, TestMaster, TestWorker } from "./harness.js";

const states = (master: TestMaster) => master.ask("workers", {}).workers.map(({ id, state }) => `${id} ${state}`);

describe("a leader that was stopped", () => {
  test("gives a worker whose connection had ended a whole deadline from then on", () => {
    const master = new TestMaster();
    const worker = new TestWorker(master, "w1");
    master.submit("k", programSpec({ supervise: true }));
    worker.disconnect();
    master.pass(5_000);
    master.stopFor(OWNER_STOPPED_MS);
    master.pass(9_900);
    expect(states(master)).toEqual(["w1 suspect"]);
    master.pass(200);
    expect(states(master)).toEqual(["w1 lost"]);
  });

  test("gives it also when the deadline would have passed in the step that notices", () => {
    const master = new TestMaster();
    const worker = new TestWorker(master, "w1");
    worker.disconnect();
    master.pass(9_990);
    master.stopFor(60_000);
    expect(states(master)).toEqual(["w1 suspect"]);
    worker.register();
    master.pass(60_000);
    expect(states(master)).toEqual(["w1 alive"]);
  });

  test("judges those whose connections turn out to have ended by when it went on, not by when it heard them last", () => {
    const master = new TestMaster();
    const worker = new TestWorker(master, "w1", { cores: 4 });
    const id = master.submit("job", jobSpec(1));
    worker.launch();
    const driver = new TestDriver(master, master.record(id), 1);
    const heardAt = master.now.instant;
    master.stopFor(30_000);
    worker.disconnect(heardAt);
    master.close(driver.linkId, heardAt);
    master.pass(9_900);
    expect(states(master)).toEqual(["w1 suspect"]);
    expect(master.status(id)).toMatchObject({ attempt: 1 });
    master.pass(200);
    expect(states(master)).toEqual(["w1 lost"]);
  });

  test("notices it whenever a standby may have told of it, with clocks as wrong as they may be", () => {
    expect(OWNER_STOPPED_MS * (1 - CLOCK_RATE_ERROR)).toBeGreaterThan(LEADER_AWAY_MS);
    expect(PULSE_MS).toBeLessThan(LEADER_AWAY_MS / 2);
  });
});
