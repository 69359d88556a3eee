/** How a test tells a running job to go on: by a file that appears. */
import { existsSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

export async function appearance(file: string): Promise<void> {
  while (!existsSync(file)) await sleep(20);
}
