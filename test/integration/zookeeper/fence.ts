/** 3,000 fenced writes of one leader, pipelined, while another takes the epoch away: what was applied has to be an exact prefix. */
import type { ZooKeeper } from "../../../src/zookeeper/index.js";
import { failureOf, nothing } from "./clients.js";

const WRITES = 3_000;

export interface FenceResult {
  readonly accepted: number;
  readonly rejected: number;
  readonly lastAccepted: number;
  readonly firstRejected: number;
  readonly codes: readonly string[];
  /** Children that are there in the end. */
  readonly applied: readonly number[];
  readonly epoch: number;
}

export async function takeOverDuringWrites(
  leader: ZooKeeper,
  other: ZooKeeper,
  root: string,
  guard = `${root}/epoch`,
): Promise<FenceResult> {
  await leader.create(root, nothing);
  await leader.create(`${root}/epoch`, nothing);
  await leader.create(`${root}/log`, nothing);
  const outcomes: (string | null)[] = new Array(WRITES).fill(null);
  const codes = new Set<string>();
  let takeOver: Promise<unknown> = Promise.resolve();
  const writes = Array.from({ length: WRITES }, async (_, index) => {
    const multi = leader.multi([
      { op: "check", path: guard, version: 0 },
      { op: "create", path: `${root}/log/${index}` },
    ]);
    // When some have been answered, the other one takes over, in the middle of the rest.
    if (index === 0) takeOver = multi.then(() => other.setData(`${root}/epoch`, nothing, 0));
    try {
      await multi;
      outcomes[index] = "accepted";
    } catch (thrown) {
      outcomes[index] = "rejected";
      codes.add((thrown as { code: string }).code);
    }
  });
  await Promise.all(writes);
  await takeOver;
  const stale = await failureOf(
    leader.multi([
      { op: "check", path: guard, version: 0 },
      { op: "create", path: `${root}/log/late` },
    ]),
  );
  codes.add(stale.code);
  await leader.sync(root);
  const { children } = await leader.getChildren(`${root}/log`);
  const stat = await leader.exists(`${root}/epoch`);
  return {
    accepted: outcomes.filter((outcome) => outcome === "accepted").length,
    rejected: outcomes.filter((outcome) => outcome === "rejected").length,
    lastAccepted: outcomes.lastIndexOf("accepted"),
    firstRejected: outcomes.indexOf("rejected"),
    codes: [...codes],
    applied: children.map(Number).sort((a, b) => a - b),
    epoch: stat?.version ?? -1,
  };
}
