/** All fixed situations in which processes die at every point. */
import { JOB_SITUATIONS, type JobSituation } from "./job-situation.js";
import { MASTER_SITUATIONS, type MasterSituation } from "./situation.js";

export type Situation = MasterSituation | JobSituation;

export const SITUATIONS: readonly Situation[] = [...MASTER_SITUATIONS, ...JOB_SITUATIONS];

export const situationName = (situation: Situation): string =>
  "window" in situation ? `job-${situation.window}/${situation.appears}` : `${situation.mode}/${situation.ending}`;
