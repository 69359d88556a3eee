/**
 * I17: event time never goes back as a sink sees it, also not over a restore; and a watermark says the truth: nothing that it has passed follows.
 *
 * Each record of a counting job leaves with the watermark of the subtask that has counted it. What a durable pointer or the decision names is in the
 * order in which its writer wrote it, so the watermarks of a writer's records grow over all tries of the job. Numbers of a split are read in their
 * order, and splits as the plan says, so no record is late.
 */
import type { ApplicationRecord } from "../../wire/application.js";
import { SINK } from "../jobs/counting-job.js";
import { type PartName, placeOfPart } from "../jobs/parts-world.js";
import { countingPlanOf, durableManifest, partsOf } from "./checkpoints.js";
import { type CheckContext, type Checker, keepsRecords } from "./context.js";

/** What is known of one application. */
interface Known {
  newest: number;
  readonly parts: Set<string>;
  /** By writer, how far event time had come in its last record. */
  readonly reached: Map<number, number>;
}

export const checkEventTime: Checker = (context) => {
  if (!keepsRecords(context)) return {};
  const applications = new Map<string, Known>();
  return {
    committed: ({ records }) => {
      for (const { kind, record } of records) {
        if (kind !== "application" || record === null) continue;
        // Where nothing is exchanged there is no event time but that of each reader, which begins at the least of all of them.
        const plan = countingPlanOf(record);
        if (plan === undefined || plan.apart === true) continue;
        const known = applications.get(record.id) ?? { newest: 0, parts: new Set(), reached: new Map() };
        applications.set(record.id, known);
        for (const part of newParts(context, record, known)) lookAt(context, record.id, part, known.reached);
      }
    },
  };
};

/** In the order in which each writer has written them. */
function newParts(context: CheckContext, record: ApplicationRecord, known: Known): readonly string[] {
  const named: string[] = [];
  const pointer = record.checkpoints?.completed.at(-1);
  if (pointer !== undefined && pointer.id > known.newest) {
    known.newest = pointer.id;
    const manifest = durableManifest(context, record.id, pointer);
    if (manifest !== null) named.push(...partsOf(manifest.carried), ...partsOf(manifest.commit));
  }
  for (const committable of record.commit?.sinks[SINK] ?? []) if (committable !== null) named.push((committable as PartName).part);
  const fresh = [...new Set(named)].filter((part) => !known.parts.has(part));
  for (const part of fresh) known.parts.add(part);
  return fresh.sort((one, another) => placeOfPart(one).number - placeOfPart(another).number);
}

function lookAt({ cluster, violate }: CheckContext, applicationId: string, part: string, reached: Map<number, number>): void {
  const { writer } = placeOfPart(part);
  let before = reached.get(writer) ?? Number.NEGATIVE_INFINITY;
  for (const { n, watermark } of cluster.counting.parts.recordsOf(applicationId, part) ?? []) {
    const what = `${n} in part ${part} of ${applicationId}`;
    if (watermark < before) violate("I17", `event time goes back from ${before} to ${watermark} at ${what}`);
    if (n <= watermark) violate("I17", `${what} is late: event time has passed ${watermark}`);
    before = watermark;
  }
  reached.set(writer, before);
}
