/**
 * What comes from outside a process (the store, the disk, other processes) is handed to it as an event of its own: a paused process gets it
 * later, a dead one never.
 */
import type { SimProcess, World } from "./world.js";

export function marshalled<T>(world: World, process: SimProcess, label: string, promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    promise.then(
      (value) => world.schedule(world.now(), label, () => resolve(value), process),
      (reason) => world.schedule(world.now(), label, () => reject(reason), process),
    );
  });
}

/** Work of the outside that takes time, whatever becomes of the process that asked for it: `act` runs in the world's name. */
export function outside<T>(world: World, process: SimProcess, label: string, delayMs: number, act: () => T): Promise<T> {
  return new Promise((resolve, reject) => {
    world.schedule(world.now() + delayMs, label, () => {
      try {
        const value = act();
        world.schedule(world.now(), label, () => resolve(value), process);
      } catch (thrown) {
        world.schedule(world.now(), label, () => reject(thrown), process);
      }
    });
  });
}
