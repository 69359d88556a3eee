/** What a take-over costs on ZooKeeper: a standby that has followed the log asks for nothing again. */
import { expect, test } from "vitest";
import { campaign, type Leadership } from "../../../src/coordination/leadership.js";
import { createNodeClock } from "../../../src/node/clock.js";
import { waitFor } from "../../support/wait-for.js";
import type { Call } from "./fake-ensemble.js";
import { type FakeStore, fakeStore, live } from "./fake-stores.js";

const RECORDS = 100;
/** Nothing is merged: pages are not what is counted here. */
const UNMERGED = { mergeEntries: 10_000 };

interface Pair {
  readonly leader: Leadership;
  readonly suspicion: AbortController;
  readonly next: Promise<Leadership>;
  /** What the standby has asked of the ensemble since. */
  callsSince(mark: number): readonly Call[];
  mark(): number;
  /** The standby hears of no change any more. */
  deafen(): void;
}

async function leaderAndStandby(): Promise<Pair> {
  const store = fakeStore(undefined, UNMERGED);
  const { tree } = store;
  const leader = await stand(store, "first");
  for (let number = 0; number < RECORDS; number++) await put(leader, `a/${number}`);
  const standby = fakeStore(tree, UNMERGED);
  const suspicion = new AbortController();
  let waits = false;
  const next = stand(standby, "second", { suspicion: suspicion.signal, onWaiting: () => (waits = true) });
  await waitFor(() => waits);
  const callsSince = (mark: number) =>
    tree.calls.slice(mark).filter(({ sessionId }) => sessionId === standby.ensembles[0]?.sessionId);
  const deafen = () => {
    const [ensemble] = standby.ensembles;
    if (ensemble !== undefined) ensemble.tell = () => {};
  };
  return { leader, suspicion, next, callsSince, mark: () => tree.calls.length, deafen };
}

const stand = (store: FakeStore, candidate: string, more: object = {}): Promise<Leadership> =>
  campaign(store, { candidate, ttlMs: 6_000, clock: createNodeClock(), ...live, ...more });

const put = (leader: Leadership, key: string) => leader.commit([{ key, value: new Uint8Array(8) }], live);

async function keysOf(leadership: Leadership): Promise<number> {
  let count = 0;
  for await (const page of leadership.readRecords({ prefix: "a/", ...live })) count += page.length;
  return count;
}

const isEntry = ({ kind, path }: Call): boolean => kind === "get" && path.includes("/log/");

test("a standby that has seen everything takes over with one commit, and reads no record again", async () => {
  const { leader, suspicion, next, callsSince, mark } = await leaderAndStandby();
  const before = mark();
  await put(leader, "a/last");
  await waitFor(() => callsSince(before).some(isEntry));
  // Its look is over when nothing is asked any more.
  let asked = -1;
  await waitFor(() => {
    const isQuiet = asked === callsSince(before).length;
    asked = callsSince(before).length;
    return isQuiet;
  });
  const suspected = mark();
  suspicion.abort(new Error("suspected"));
  const successor = await next;
  expect(await keysOf(successor)).toBe(RECORDS + 1);
  expect(callsSince(suspected).map(({ kind }) => kind)).toEqual(["multi"]);
  await expect(put(leader, "a/late")).rejects.toMatchObject({ code: "FENCED" });
  await successor.resign();
});

test("one that has not seen the last records reads these, and no others", async () => {
  const { leader, suspicion, next, callsSince, mark, deafen } = await leaderAndStandby();
  deafen();
  for (const name of ["b", "c", "d"]) await put(leader, `a/${name}`);
  const suspected = mark();
  suspicion.abort(new Error("suspected"));
  const successor = await next;
  expect(await keysOf(successor)).toBe(RECORDS + 3);
  const calls = callsSince(suspected);
  expect(calls.filter(isEntry)).toHaveLength(3);
  // Refused for what it had not seen, and then taken.
  expect(calls.filter(({ kind }) => kind === "multi")).toHaveLength(2);
  await successor.resign();
});
