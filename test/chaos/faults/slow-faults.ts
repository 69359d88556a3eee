/** Servers behind links that delay everything and let messages of different connections overtake each other. */
import { ZOOKEEPERS } from "../../support/partition/machines.js";
import type { Fault, Scene } from "./fault.js";

/** Below and above what a session of the masters bears. */
const DELAYS_MS = [30, 150, 600] as const;

function slowFault(name: string, choose: (scene: Scene) => readonly string[]): Fault {
  return {
    name,
    reach: "work",
    begin: async (scene) => {
      const [slow, maxDelayMs] = [choose(scene), scene.chance.pick(DELAYS_MS)];
      const links = await Promise.all(slow.map((one) => scene.machines.slowDown(one, maxDelayMs)));
      return {
        what: `${slow.join(", ")} answer up to ${maxDelayMs} ms late on new connections`,
        end: async () => {
          for (const link of links) await link.close();
        },
      };
    },
  };
}

export const mastersSlow = slowFault("masters-slow", ({ leader, standbys }) => [leader, ...standbys]);
export const zookeeperSlow = slowFault("zookeeper-slow", () => ZOOKEEPERS);
