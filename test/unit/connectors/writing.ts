/** Sinks as a job uses them: parts staged by several subtasks, then one commit. */
import { readdirSync } from "node:fs";
import type { JsonValue } from "../../../src/base/json.js";
import type { SinkConnector } from "../../../src/dataflow/connector.js";
import { signal } from "./reading.js";

export const APP = "app-7-1";

/** All names below a directory. */
export function names(dir: string): string[] {
  return (readdirSync(dir, { recursive: true }) as string[]).sort();
}

/** What is not hidden. */
export function visible(dir: string): string[] {
  return names(dir).filter((name) => !name.split("/").some((part) => part.startsWith(".")));
}

export async function stage(
  sink: SinkConnector<unknown>,
  attempt: string,
  parts: readonly (readonly unknown[])[],
): Promise<JsonValue[]> {
  const parallelism = parts.length;
  await sink.begin?.({ applicationId: APP, attempt, parallelism, signal });
  return Promise.all(
    parts.map(async (records, subtask) => {
      const writer = await sink.open({ applicationId: APP, attempt, subtask, parallelism, signal });
      try {
        for (let at = 0; at < records.length; at += 7) {
          const batch = records.slice(at, at + 7);
          // The array is the caller's again: a sink that kept it would write the wrong records.
          await writer.write(batch, batch.length);
          batch.fill("overwritten");
        }
        return JSON.parse(JSON.stringify(await writer.prepare())) as JsonValue;
      } finally {
        await writer.close();
      }
    }),
  );
}

export async function run(sink: SinkConnector<unknown>, attempt: string, parts: readonly (readonly unknown[])[]): Promise<void> {
  const committables = await stage(sink, attempt, parts);
  await sink.commit(committables, { applicationId: APP, attempt, parallelism: parts.length });
  await sink.cleanUp({ applicationId: APP, keepAttempt: null });
}

export const records = Array.from({ length: 50 }, (_, i) => ({ id: i, name: `name ${i}, "quoted"` }));
