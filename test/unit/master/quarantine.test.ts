import { expect, test } from "vitest";
import { programSpec, TestMaster, TestWorker } from "./harness.js";

const text = (bytes: Uint8Array | undefined) => new TextDecoder().decode(bytes);
/** What a later release wrote: everything as it was, with a higher version. */
function raiseVersion(master: TestMaster, key: string): Uint8Array {
  const newer = new TextEncoder().encode(text(master.store.get(key)).replace('{"v":1,', '{"v":2,"more":true,'));
  master.store.set(key, newer);
  return newer;
}

test("an application of a newer version is neither run again under its key nor unknown by its id", () => {
  const master = new TestMaster();
  new TestWorker(master, "w1").launch();
  const id = master.submit("daily", programSpec());
  const newer = raiseVersion(master, `applications/${id}`);
  const next = master.failover();
  const worker = new TestWorker(next, "w1");
  expect(next.try("submit", { key: "daily", spec: programSpec() }).error).toBe("RECORD_QUARANTINED");
  for (const application of [id, "daily"]) {
    expect(next.try("status", { application, after: null, waitMs: 0 }).error).toBe("RECORD_QUARANTINED");
    expect(next.try("cancel", { application }).error).toBe("RECORD_QUARANTINED");
  }
  expect(next.try("status", { application: "other", after: null, waitMs: 0 }).error).toBe("NOT_FOUND");
  next.submit("other", programSpec());
  expect(worker.launch()).toHaveLength(1);
  expect(next.store.get(`applications/${id}`)).toBe(newer);
});

test("a worker whose record cannot be read works on: what it runs is not started twice, its record is never written", () => {
  const master = new TestMaster();
  const worker = new TestWorker(master, "w1");
  const id = master.submit("k", programSpec({ supervise: true }));
  worker.launch();
  const newer = raiseVersion(master, "workers/w1");
  const next = master.failover();
  new TestWorker(next, "w2");
  next.pass(5_000);
  expect(next.launches()).toEqual([]);
  worker.register(next);
  expect(next.status(id)).toMatchObject({ state: "running", attempt: 1, driver: { worker: "w1", pid: 1000 } });
  next.ask("drain", { worker: "w1" });
  expect(worker.stop()).toEqual([`${id}.d1`]);
  expect(next.status(id)).toMatchObject({ attempt: 2, driver: { worker: "w2" } });
  expect(next.store.get("workers/w1")).toBe(newer);
  worker.disconnect();
  next.pass(11_000);
  expect(next.ask("workers", {}).workers.map(({ id, state }) => `${id} ${state}`)).toEqual(["w1 lost", "w2 alive"]);
  expect(next.store.get("workers/w1")).toBe(newer);
});

test("a worker whose record cannot be read and that does not come back is lost after its deadline, like any other", () => {
  const master = new TestMaster();
  const worker = new TestWorker(master, "w1");
  const id = master.submit("k", programSpec({ supervise: true }));
  worker.launch();
  const newer = raiseVersion(master, "workers/w1");
  const next = master.failover();
  const two = new TestWorker(next, "w2");
  next.pass(10_000 + 3_000);
  expect(two.launch()).toEqual([`${id}.d2`]);
  expect(next.store.get("workers/w1")).toBe(newer);
});
