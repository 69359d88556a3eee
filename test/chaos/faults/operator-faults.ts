/** An operator's mistakes that a cluster has to survive: znodes deleted by hand. */
import { LEADER_PREFIX } from "../../../src/coordination/keys.js";
import { decodeEphemeral } from "../../../src/zookeeper-store/codec.js";
import { type Machines, ROOT_PATH } from "../../support/partition/machines.js";
import type { Fault } from "./fault.js";

/** The znode that tells who leads; its record is a hint only, and the fence is elsewhere. */
export const leaderZnodeDeleted: Fault = {
  name: "leader-znode-deleted",
  reach: "control",
  begin: async ({ machines }) => {
    // With another fault in force ZooKeeper may not answer, or not have it any more.
    const tree = await machines.client.znode({ op: "tree", path: ROOT_PATH }).catch(() => []);
    const leaders = tree.filter(
      ({ path, base64 }) =>
        path.includes("/ephemerals/") && decodeEphemeral(Buffer.from(base64, "base64"), path).key.startsWith(LEADER_PREFIX),
    );
    for (const { path } of leaders) await machines.client.znode({ op: "delete", path }).catch(() => {});
    return { what: `deleted ${leaders.map(({ path }) => path).join(", ") || "nothing: none was found"}` };
  },
};

/** Of the one store at the path. */
export async function storePath(machines: Machines): Promise<string> {
  const tree = await machines.client.znode({ op: "tree", path: ROOT_PATH });
  const head = tree.find(({ path }) => path.endsWith("/head"));
  if (head === undefined) throw new Error("there is no store");
  return head.path.slice(0, -"/head".length);
}
