/**
 * What a worker tells a driver or an executor that it starts: one JSON file, readable by its user only (0600), in the process's folder.
 *
 *   node runner.mjs driver|executor START_FILE      the runner reads the file and begins
 *   node runner.mjs spare                           the runner loads everything, reads ONE line of standard input (SpareAssignment),
 *                                                   lets go of standard input and goes on as above. End of input without a line: it ends (exit 0)
 *
 * Rules:
 *   1. After its line a runner pays no attention to standard input: its end means nothing. It outlives its worker.
 *   2. Standard output and error are the process's logs. The current directory is a folder of its own.
 *   3. Beside the start file of an executor stands `driver.json` (DriverPlace) once its driver is another one; it is replaced whole, and looked at when the
 *      driver does not answer, and now and then.
 *   4. The environment holds no secret; HOLDFAST_PROCESS is set (not for a spare, which learns its id from the file).
 */
import { z } from "zod";
import { applicationRecord } from "./application.js";
import { idText } from "./ids.js";

export const runnerStart = z.object({
  role: z.enum(["driver", "executor"]),
  processId: idText,
  /** As of the launch order: spec, attempt, and for a driver what an earlier attempt decided (`commit`). */
  application: applicationRecord,
  /** Hex. The key of scope `application/<id>`; with it a driver reaches the master and its executors, and nobody else. */
  applicationKey: z.string().regex(/^[0-9a-f]{64}$/),
  /** For an executor: where its driver listens. Null for a driver. */
  driverAddress: z.string().max(256).nullable(),
  /**
   * For a driver: addresses, or a file of them that it reads by itself. It holds no credentials: where the worker's own URL may, it names a file
   * in the work directory. Empty for an executor.
   */
  masterUrl: z.string().max(8192),
  /** The job's bundle, verified by the worker. */
  artifactPath: z.string().max(4096),
  /** Host to listen on (port 0), for executors' connections to the driver and between executors. */
  listenHost: z.string().max(256),
  workerId: idText,
  /** Highest epoch of a master that the worker has seen: the driver's first view of it. */
  epoch: z.number().int().nonnegative(),
});
export type RunnerStart = z.infer<typeof runnerStart>;

/** The driver that an executor belongs to by now. */
export const DRIVER_FILE_NAME = "driver.json";
export const driverPlace = z.object({ attempt: z.number().int().positive(), address: z.string().max(256) });
export type DriverPlace = z.infer<typeof driverPlace>;

export const spareAssignment = z.object({ role: z.enum(["driver", "executor"]), startFile: z.string().max(4096) });
export type SpareAssignment = z.infer<typeof spareAssignment>;
