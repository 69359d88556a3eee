import { beforeEach, describe, expect, test } from "vitest";
import type { Connection } from "../../../src/env/transport.js";
import { createNetwork, type Network } from "../../../src/sim/network.js";
import { type SimProcess, World } from "../../../src/sim/world.js";
import { drain } from "./drain.js";

const TIMEOUT_MS = 2_000;
const signal = new AbortController().signal;

describe("the simulated network", () => {
  let world: World;
  let network: Network;
  let server: SimProcess;
  let client: SimProcess;
  let heard: string[];
  let accepted: Connection[];

  beforeEach(async () => {
    world = new World(7, drain);
    network = createNetwork(world, { minLatencyMs: 1, maxLatencyMs: 20, tailShare: 0.2 });
    server = world.spawn("server", "a");
    client = world.spawn("client", "b");
    heard = [];
    accepted = [];
    await network.transportFor(server).listen("a:1", (connection) => {
      accepted.push(connection);
      connection.onFrame((frame) => heard.push(`${String.fromCharCode(...frame)}@${Math.round(world.now())}`));
    });
  });

  const connect = async (): Promise<Connection> => {
    let made: Connection | null = null;
    const connecting = network.transportFor(client).connect("a:1", { signal, timeoutMs: TIMEOUT_MS });
    connecting.then(
      (connection) => {
        made = connection;
      },
      () => {},
    );
    await world.runUntil(world.now() + 1_000, () => made !== null);
    // The other side accepts a moment later.
    await world.runUntil(world.now());
    return connecting;
  };
  const text = (letters: string) => Uint8Array.from(letters, (letter) => letter.charCodeAt(0));
  const endOf = (connection: Connection): { code: string | null } => {
    const end: { code: string | null } = { code: null };
    void connection.ended.then(({ code }) => {
      end.code = code;
    });
    return end;
  };

  test("frames arrive in order, however long each takes", async () => {
    const connection = await connect();
    for (const letter of "abcdefghij") connection.send(text(letter));
    await world.runUntil(5_000);
    expect(heard.map((frame) => frame[0]).join("")).toBe("abcdefghij");
  });

  test("across a cut nothing arrives; after it everything does", async () => {
    const connection = await connect();
    const end = network.cut("b", "a");
    connection.send(text("x"));
    await world.runUntil(world.now() + 3_000);
    expect(heard).toEqual([]);
    end();
    await world.runUntil(world.now() + 1);
    expect(heard).toHaveLength(1);
  });

  test("a cut in one direction leaves the other open", async () => {
    const connection = await connect();
    const back: string[] = [];
    connection.onFrame((frame) => back.push(String.fromCharCode(...frame)));
    network.cut("b", "a");
    accepted[0]?.send(text("y"));
    await world.runUntil(world.now() + 1_000);
    expect(back).toEqual(["y"]);
  });

  test("a new connection across a cut times out", async () => {
    network.cut("a", "b");
    const connecting = network.transportFor(client).connect("a:1", { signal, timeoutMs: TIMEOUT_MS });
    const refused = expect(connecting).rejects.toMatchObject({ code: "TIMEOUT" });
    await world.runUntil(5_000);
    await refused;
  });

  test("a dead process refuses, and its connections break", async () => {
    const connection = await connect();
    const end = endOf(connection);
    server.kill();
    await world.runUntil(world.now() + 1_000);
    expect(end.code).toBe("CONNECTION_LOST");
    const connecting = network.transportFor(client).connect("a:1", { signal, timeoutMs: TIMEOUT_MS });
    const refused = expect(connecting).rejects.toMatchObject({ code: "CONNECTION_REFUSED" });
    await world.runUntil(world.now() + 1_000);
    await refused;
  });

  test("a machine without power tells nobody; when it is back, who still waits learns it", async () => {
    const connection = await connect();
    const end = endOf(connection);
    network.machineDown("a");
    server.kill();
    await world.runUntil(world.now() + 10_000);
    expect(end.code).toBeNull();
    network.machineUp("a");
    await world.runUntil(world.now() + 100);
    expect(end.code).toBe("CONNECTION_LOST");
  });

  test("a firewall that rejects breaks what is open and refuses what is new, until it is gone", async () => {
    const connection = await connect();
    const end = endOf(connection);
    const accept = network.reject("a", "b");
    await world.runUntil(world.now() + 100);
    expect(end.code).toBe("CONNECTION_LOST");
    await expect(connect()).rejects.toMatchObject({ code: "CONNECTION_REFUSED" });
    accept();
    await expect(connect()).resolves.toBeDefined();
  });
});
