import { describe, expect, test } from "vitest";
import { failoverRegions } from "../../../src/dataflow/failover-regions.js";
import type { EdgeSpec, ExchangeKind, JobGraph, OperatorSpec } from "../../../src/dataflow/graph.js";

/** `edges`: "from exchange to"; `fixed`: operators with a parallelism of their own. */
function graph(edges: readonly string[], fixed: Readonly<Record<string, number>> = {}): JobGraph {
  const specs = edges.map((text): EdgeSpec => {
    const [from = "", exchange = "", to = ""] = text.split(" ");
    return { from, to, input: 0, exchange: exchange as ExchangeKind, side: null };
  });
  // Sources stand first, so that the order is a topological one.
  const all = [...new Set(specs.flatMap(({ from, to }) => [from, to]))];
  const isRead = new Set(specs.map(({ to }) => to));
  const uids = [...all.filter((uid) => !isRead.has(uid)), ...all.filter((uid) => isRead.has(uid))];
  const operators = uids.map((uid): OperatorSpec => ({ uid, kind: "map", parallelism: fixed[uid] ?? null, config: null }));
  return { version: 1, jobId: "job", bounded: true, maxParallelism: 128, operators, edges: specs, hash: "" };
}

describe("failover regions", () => {
  test("a job that exchanges nothing between executors has one for each slice", () => {
    const regions = failoverRegions(graph(["in forward map", "map forward out"]), 4);
    expect(regions).toEqual({
      parts: [{ operators: ["in", "map", "out"], executors: 4, joinedBy: null }],
      restarts: "slice",
    });
  });

  test.each(["hash", "rebalance", "broadcast"] as const)("an edge by %s joins all slices, and is named", (exchange) => {
    const { parts, restarts } = failoverRegions(graph(["in forward map", `map ${exchange} count`, "count forward out"]), 4);
    expect(restarts).toBe("job");
    expect(parts).toEqual([
      { operators: ["in", "map", "count", "out"], executors: 4, joinedBy: { from: "map", to: "count", exchange } },
    ]);
  });

  test("a forward edge between different parallelisms is none, and joins them", () => {
    expect(failoverRegions(graph(["in forward out"], { out: 1 }), 4)).toMatchObject({ restarts: "job" });
  });

  test("subtasks that are one each exchange nothing with others, whatever their edge says", () => {
    const regions = failoverRegions(graph(["in hash count", "count rebalance out"], { in: 1, count: 1, out: 1 }), 4);
    expect(regions).toEqual({ parts: [{ operators: ["in", "count", "out"], executors: 1, joinedBy: null }], restarts: "slice" });
  });

  test("parts that no edge joins are looked at each for itself; one that joins slices restarts all, for an executor runs its slice of each", () => {
    const { parts, restarts } = failoverRegions(graph(["a forward b", "c hash d", "b forward e"]), 2);
    expect(parts.map(({ operators, joinedBy }) => [operators, joinedBy?.to ?? null])).toEqual([
      [["a", "b", "e"], null],
      [["c", "d"], "d"],
    ]);
    expect(restarts).toBe("job");
  });

  test("streams that meet are one part, also when an earlier one had nothing to do with the other", () => {
    const { parts } = failoverRegions(graph(["a forward u", "b forward u", "u forward out", "c forward d"]), 3);
    expect(parts.map(({ operators }) => operators)).toEqual([
      ["a", "b", "u", "out"],
      ["c", "d"],
    ]);
  });

  test("a job of one executor restarts whole: there is nobody who could go on", () => {
    expect(failoverRegions(graph(["in forward out"]), 1).restarts).toBe("job");
  });
});
