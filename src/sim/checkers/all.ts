/** Every checker, in the order in which they are told. */
import { checkCancels } from "./cancels.js";
import { checkCheckpoints } from "./checkpoints.js";
import type { Checker } from "./context.js";
import { checkEpochs } from "./epochs.js";
import { checkEventTime } from "./event-time.js";
import { checkLeadership } from "./leadership.js";
import { checkOutput } from "./output.js";
import { checkReads } from "./reads.js";
import { checkRegistrar } from "./registrar.js";
import { checkResources } from "./resources.js";
import { checkSpecs } from "./specs.js";
import { checkStability } from "./stability.js";
import { checkStates } from "./states.js";
import { checkSubmissions } from "./submissions.js";
import { checkSupervision } from "./supervision.js";

export const CHECKERS: readonly Checker[] = [
  checkLeadership,
  checkSubmissions,
  checkEpochs,
  checkOutput,
  checkStates,
  checkResources,
  checkSupervision,
  checkReads,
  checkRegistrar,
  checkCancels,
  checkStability,
  checkSpecs,
  checkCheckpoints,
  checkEventTime,
];
