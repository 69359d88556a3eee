import { describe, expect, test } from "vitest";
import { encodeEpoch, encodeLastCommit } from "../../../src/coordination/epoch-records.js";
import { submittedApplication } from "../../../src/wire/application.js";
import { encodeApplicationRecord } from "../../../src/wire/records.js";
import { encodeEntry, encodeHead, type LogEntry, type RecordState } from "../../../src/zookeeper-store/codec.js";
import { program } from "../../support/partition/applications.js";
import { checkAcknowledged, replayStores, type StoreHistory } from "../../support/partition/ground-truth.js";
import type { LoggedOperation, LoggedTransaction } from "../../support/zookeeper-log.js";

const ROOT = "/cluster";
const STORE = `${ROOT}/s1`;

/** A store's history, entry by entry; each may be wrong in a way that a test names. */
class Story {
  readonly transactions: LoggedTransaction[] = [];
  #index = 0;

  constructor() {
    this.write([{ op: "create", path: `${ROOT}/format`, data: Buffer.from(JSON.stringify({ store: "s1" })), ephemeral: false }]);
  }

  write(operations: readonly LoggedOperation[]): void {
    this.transactions.push({ zxid: BigInt(this.transactions.length + 1), session: 1n, at: 0, operations });
  }

  entry(session: string, states: readonly RecordState[], wrong: Partial<LogEntry> & { readonly headVersion?: number } = {}): this {
    this.#index += 1;
    const { headVersion = this.#index, ...fields } = wrong;
    const index = fields.index ?? this.#index;
    const entry: LogEntry = {
      ...{ index, revision: index, sessionId: session, nonce: `n${this.transactions.length}`, states, touched: [] },
      ...fields,
    };
    const head = Buffer.from(encodeHead({ index, revision: index }));
    this.write([
      { op: "set", path: `${STORE}/head`, data: head, version: headVersion },
      { op: "create", path: `${STORE}/log/${index}`, data: Buffer.from(encodeEntry(entry)), ephemeral: false },
    ]);
    return this;
  }

  takes(session: string, epoch: number): this {
    const states = [put("epoch", encodeEpoch({ epoch, session, candidate: "m:1", binding: "" })), last(epoch, 0)];
    return this.entry(session, states);
  }

  commits(session: string, epoch: number, sequence: number, ...states: readonly RecordState[]): this {
    return this.entry(session, [...states, last(epoch, sequence)]);
  }

  history(): StoreHistory {
    const [history] = replayStores(this.transactions, ROOT);
    if (history === undefined) throw new Error("there is no store");
    return history;
  }

  problems(): string {
    return this.history().problems.join("\n");
  }
}

const put = (key: string, value: Uint8Array): RecordState => ({ key, record: { key, version: 0, value } });
const last = (epoch: number, sequence: number): RecordState => put("commit/last", encodeLastCommit({ epoch, sequence }));

function application(id: string, key: string, changes: object = {}): RecordState {
  const facts = { id, submissionKey: key, contentHash: "", spec: program(["true"]), submittedAt: 0, order: 0 };
  return put(`records/applications/${id}`, encodeApplicationRecord({ ...submittedApplication(facts), ...changes }));
}

const forget = (id: string): RecordState => ({ key: `records/applications/${id}`, record: undefined });

describe("the replay of a store", () => {
  test("finds nothing in two leaderships with their applications", () => {
    const story = new Story()
      .takes("a", 1)
      .commits("a", 1, 1, application("app-1-1", "k1"))
      .commits("a", 1, 2, application("app-1-1", "k1", { state: "finished", attempt: 1 }))
      .entry("b", [])
      .takes("b", 2)
      .commits("b", 2, 1, application("app-2-1", "k2"), forget("app-1-1"));
    const history = story.history();
    expect(history.problems).toEqual([]);
    expect(history.epochs.map(({ epoch, session }) => `${epoch}${session}`)).toEqual(["1a", "2b"]);
    expect(history).toMatchObject({ entries: 6, commits: 5 });
    expect(checkAcknowledged(history, [{ key: "k2", id: "app-2-1" }])).toEqual([]);
  });

  const planted: readonly (readonly [string, (story: Story) => Story, string])[] = [
    ["a deposed leader's commit", (story) => story.takes("b", 2).commits("a", 1, 1), "a commit of epoch 1 stands after epoch 2"],
    ["an epoch that was taken twice", (story) => story.takes("b", 1), "epoch 1 was taken after epoch 1"],
    ["an epoch that goes back", (story) => story.takes("b", 5).takes("c", 4), "epoch 4 was taken after epoch 5"],
    [
      "a session that commits in another's epoch",
      (story) => story.commits("b", 1, 1),
      "session b committed in epoch 1, which session a has taken",
    ],
    [
      "a commit that was applied twice",
      (story) => story.commits("a", 1, 1).commits("a", 1, 1),
      "commit 1 of epoch 1 stands where 2 was due",
    ],
    ["a change without a fence", (story) => story.entry("a", [application("app-1-1", "k1")]), "changed without a fence"],
    ["a hole", (story) => story.entry("a", [], { index: 5 }), "entry 5 follows entry 1"],
    ["a head that was moved by two", (story) => story.entry("a", [], { headVersion: 9 }), "the head went from version 1 to 9"],
    [
      "a group that was written twice",
      (story) => story.entry("a", [], { nonce: "same" }).entry("a", [], { nonce: "same" }),
      "repeats the nonce same",
    ],
    [
      "a key with two applications",
      (story) => story.commits("a", 1, 1, application("app-1-1", "k1")).commits("a", 1, 2, application("app-1-2", "k1")),
      "the key k1 got a second application, app-1-2 after app-1-1",
    ],
    [
      "an end that was taken back",
      (story) =>
        story
          .commits("a", 1, 1, application("app-1-1", "k1", { state: "failed" }))
          .commits("a", 1, 2, application("app-1-1", "k1", { state: "running" })),
      "app-1-1 went from failed to running",
    ],
    [
      "a record that was deleted while it ran",
      (story) => story.commits("a", 1, 1, application("app-1-1", "k1", { state: "running" })).commits("a", 1, 2, forget("app-1-1")),
      "app-1-1 was deleted while it was running",
    ],
  ];
  for (const [what, plant, found] of planted)
    test(`finds ${what}`, () => expect(plant(new Story().takes("a", 1)).problems()).toContain(found));
});

describe("what was acknowledged", () => {
  const history = new Story()
    .takes("a", 1)
    .commits("a", 1, 1, application("app-1-1", "k1"), application("app-1-2", "k2", { state: "finished" }))
    .commits("a", 1, 2, forget("app-1-2"))
    .history();

  test("and never recorded, or recorded for another key, or removed, is told", () => {
    expect(checkAcknowledged(history, [{ key: "k1", id: "app-1-1" }])).toEqual([]);
    expect(checkAcknowledged(history, [{ key: "k3", id: "app-1-3" }])).toEqual([expect.stringContaining("never recorded")]);
    expect(checkAcknowledged(history, [{ key: "k3", id: "app-1-1" }])).toEqual([expect.stringContaining("is of k1")]);
    expect(checkAcknowledged(history, [{ key: "k2", id: "app-1-2" }])).toEqual([expect.stringContaining("its record is gone")]);
  });
});
