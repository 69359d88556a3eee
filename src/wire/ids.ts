/**
 * Identities: a stable id plus an attempt. Minted from (epoch, sequence) by the leader, or once per work directory by a worker.
 *
 *   application  app-7-12           epoch 7, sequence 12
 *   process      app-7-12.d1        driver attempt 1 (of a process application: the program itself)
 *                app-7-12.d1.e3     executor 3 of driver attempt 1
 * So the id of a process carries its fence: whoever reports about `app-7-12.d1` when attempt 2 is current is stale.
 */
import { z } from "zod";

export const idText = z.string().regex(/^[A-Za-z0-9._-]{1,128}$/);
/** The key by which a client names a submission (`--id`). */
export const submissionKey = z.string().regex(/^[A-Za-z0-9._:@/-]{1,128}$/);

export const applicationId = (epoch: number, sequence: number): string => `app-${epoch}-${sequence}`;
export const driverProcessId = (application: string, attempt: number): string => `${application}.d${attempt}`;
export const executorProcessId = (application: string, attempt: number, executor: number): string =>
  `${application}.d${attempt}.e${executor}`;

export interface ParsedProcessId {
  readonly application: string;
  readonly attempt: number;
  /** Null for a driver. */
  readonly executor: number | null;
}

export function parseProcessId(id: string): ParsedProcessId | null {
  const match = /^(app-[0-9]+-[0-9]+)\.d([0-9]+)(?:\.e([0-9]+))?$/.exec(id);
  if (match === null) return null;
  const [, application, attempt, executor] = match;
  if (application === undefined || attempt === undefined) return null;
  return { application, attempt: Number(attempt), executor: executor === undefined ? null : Number(executor) };
}
