/**
 * I6 a worker never obeys an order of an epoch lower than the highest that it has seen. Judged by the frames that reached it and by what it then
 * did on its machine.
 */
import { utf8Decode } from "../../base/utf8.js";
import type { SimProcess } from "../world.js";
import type { Checker } from "./context.js";

/** Reasons of stops that are a worker's own. */
const OWN_REASONS: ReadonlySet<string> = new Set(["its worker's incarnation is over", "its worker is stopped"]);
const FROM_MASTER: ReadonlySet<string> = new Set([
  "worker.registered",
  "worker.refused",
  "worker.launch",
  "worker.stop",
  "worker.acknowledge",
]);

interface Heard {
  highest: number;
  /** `launch <process>`, `stop <process>`: whether an order that may be obeyed has come. */
  readonly orders: Map<string, boolean>;
}

export const checkEpochs: Checker = ({ violate }) => {
  const heard = new WeakMap<SimProcess, Heard>();
  const of = (process: SimProcess): Heard => {
    let entry = heard.get(process);
    if (entry === undefined) {
      entry = { highest: 0, orders: new Map() };
      heard.set(process, entry);
    }
    return entry;
  };
  const obeyed = (process: SimProcess, order: string) => {
    if (of(process).orders.get(order) === false) violate("I6", `${process.id} obeyed an order of a deposed leader: ${order}`);
  };
  return {
    frame: (_from, to, kind, frame) => {
      if (!FROM_MASTER.has(kind)) return;
      const worker = of(to);
      const epoch = epochOf(frame);
      const isCurrent = epoch >= worker.highest;
      worker.highest = Math.max(worker.highest, epoch);
      if (kind !== "worker.launch" && kind !== "worker.stop") return;
      const { body } = JSON.parse(utf8Decode(frame) ?? "{}") as { readonly body: { readonly processId: string } };
      const order = `${kind.slice("worker.".length)} ${body.processId}`;
      // One good order is enough; a later stale one changes nothing.
      worker.orders.set(order, isCurrent || worker.orders.get(order) === true);
    },
    launched: ({ launchedBy, processId }) => obeyed(launchedBy, `launch ${processId}`),
    stopAsked: ({ processId }, askedBy, reason) => {
      if (!OWN_REASONS.has(reason)) obeyed(askedBy, `stop ${processId}`);
    },
  };
};

/** The last field of an envelope: `..."epoch":17}`. */
function epochOf(frame: Uint8Array): number {
  let epoch = 0;
  let factor = 1;
  for (let index = frame.length - 2; index >= 0; index -= 1) {
    const digit = (frame[index] ?? 0) - 48;
    if (digit < 0 || digit > 9) break;
    epoch += digit * factor;
    factor *= 10;
  }
  return epoch;
}
