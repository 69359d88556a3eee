/** The typed messages of the master's conversations, as its core sends and receives them. */
import type { z } from "zod";
import type { driverRegistered, driverToMaster, masterToDriver } from "../wire/driver-messages.js";
import type { MessageOf } from "../wire/envelope.js";
import type { OperationName, OperationOutput } from "../wire/operations.js";
import type { masterToWorker, processEnd, workerToMaster } from "../wire/worker-messages.js";

type Sent<T extends { readonly kind: string; readonly body: unknown }> = T extends {
  readonly kind: infer K;
  readonly body: infer B;
}
  ? { readonly message: K; readonly body: B }
  : never;

/** Launch orders have an effect of their own. */
export type MasterToWorker = Exclude<Sent<MessageOf<typeof masterToWorker>>, { readonly message: "worker.launch" }>;
export type MasterToDriver = Sent<MessageOf<typeof masterToDriver>>;

export type WorkerRegister = z.infer<(typeof workerToMaster)["worker.register"]>;
export type WorkerReport = z.infer<(typeof workerToMaster)["worker.report"]>;
export type ProcessEnd = z.infer<typeof processEnd>;
export type DriverRegister = z.infer<(typeof driverToMaster)["driver.register"]>;
export type DriverExecutors = z.infer<(typeof driverToMaster)["driver.executors"]>;
export type DriverCheckpoint = z.infer<(typeof driverToMaster)["driver.checkpoint"]>;
export type DriverRestored = z.infer<(typeof driverToMaster)["driver.restored"]>;
export type DriverTookOver = z.infer<(typeof driverToMaster)["driver.took-over"]>;
export type DriverFinished = z.infer<(typeof driverToMaster)["driver.finished"]>;
export type DriverRegistered = z.infer<typeof driverRegistered>;

export type OperationReply = OperationOutput<OperationName> | DriverRegistered | Readonly<Record<string, never>>;
