/**
 * Bundles of jobs in the masters' storage: which of them no record needs any more.
 *
 * An application needs its bundle until it has ended, nothing of it runs, and what its sinks staged is removed (a cleaner loads the job). Applications of the
 * same job share one; it goes with the last that needs it, as the records say: a later leader compares what lies in the folders of its predecessors with
 * them, since nobody else can name those any more (wire/bundles.ts).
 *
 * Invariant: while a record can't be read, nothing is removed: it may need any of them.
 */
import { isFinal } from "../wire/application.js";
import type { BundleName } from "../wire/bundles.js";
import { bundleFolder } from "../wire/bundles.js";
import { APPLICATIONS_PREFIX } from "../wire/records.js";
import { owesCleanUp } from "./leftovers.js";
import type { Application, MasterState, Step } from "./state.js";

function bundleOf({ record: { spec, bundleFolder: folder } }: Application): BundleName | null {
  return spec.job === null ? null : { folder: folder ?? null, sha256: spec.job.artifact };
}

const needsBundle = (app: Application): boolean => !isFinal(app.record.state) || app.processes.size > 0 || owesCleanUp(app);

const keyOf = ({ folder, sha256 }: BundleName): string => `${folder ?? ""}/${sha256}`;

/** Looked at when the step is over. */
export function releaseBundle(state: MasterState, app: Application): void {
  if (app.record.spec.job !== null && !needsBundle(app)) state.released.add(app);
}

/** At the end of a step. */
export function removeReleased(state: MasterState, step: Step): void {
  // Until all workers have told what they run, more may be needed than is known.
  if (state.released.size === 0 || state.phase !== "ALIVE") return;
  const released = new Map<string, BundleName>();
  for (const app of state.released) {
    const bundle = bundleOf(app);
    // What earlier releases have put may be needed by them.
    if (bundle !== null && bundle.folder !== null) released.set(keyOf(bundle), bundle);
  }
  state.released.clear();
  for (const [key, bundle] of released) removeUnlessNeeded(state, step, key, bundle);
}

/** Uploaded or looked for, and never submitted. */
export function bundleIdle(state: MasterState, step: Step, bundle: BundleName): void {
  if (bundle.folder !== bundleFolder(state.self.clusterId, state.self.epoch)) return;
  removeUnlessNeeded(state, step, keyOf(bundle), bundle);
}

function removeUnlessNeeded(state: MasterState, step: Step, key: string, bundle: BundleName): void {
  if (hasUnreadable(state)) return;
  for (const app of state.byBundle.get(key) ?? []) if (needsBundle(app)) return;
  step.turn.effects.push({ kind: "remove-bundle", bundle });
}

/** By a new leader with records, when all workers have told what they run. */
export function sweepBundles(state: MasterState, step: Step): void {
  if (state.mode !== "store" || hasUnreadable(state)) return;
  const needed: BundleName[] = [];
  for (const apps of state.byBundle.values()) {
    const one = [...apps].find(needsBundle);
    const bundle = one === undefined ? null : bundleOf(one);
    if (bundle !== null) needed.push(bundle);
  }
  step.turn.effects.push({ kind: "sweep-bundles", needed });
}

const hasUnreadable = ({ quarantine }: MasterState): boolean =>
  quarantine.records.some(({ key }) => key.startsWith(APPLICATIONS_PREFIX));

export function addToBundle(state: MasterState, app: Application): void {
  const bundle = bundleOf(app);
  if (bundle === null) return;
  const key = keyOf(bundle);
  const sharing = state.byBundle.get(key) ?? new Set();
  state.byBundle.set(key, sharing.add(app));
}

/** It is forgotten. */
export function leaveBundle(state: MasterState, app: Application): void {
  const bundle = bundleOf(app);
  if (bundle === null) return;
  const key = keyOf(bundle);
  const sharing = state.byBundle.get(key);
  sharing?.delete(app);
  if (sharing?.size === 0) state.byBundle.delete(key);
  state.released.add(app);
}
