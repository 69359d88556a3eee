/** Texts about runs, for people. */
import type { LogSeen, Observer } from "./observe.js";
import type { RunResult } from "./scenario.js";

const TIME_WIDTH = 11;
const NAME_WIDTH = 20;
const timeText = (at: number): string => at.toFixed(1).padStart(TIME_WIDTH);

/** Every line of every process, and every fault, as they happen. */
export function narrator(say: (line: string) => void, now: () => number): Observer {
  const line = (name: string, text: string) => say(`${timeText(now())}  ${name.padEnd(NAME_WIDTH)} ${text}`);
  return {
    logged: ({ process, level, message }: LogSeen) => line(process.id, level === "info" ? message : `[${level}] ${message}`),
    fault: (what, subject) => line("FAULT", `${what}: ${subject}`),
    faultEnded: () => line("FAULT", "one has ended"),
    calm: (frozen) =>
      line("CALM", `no more faults; everything has to finish${frozen.length === 0 ? "" : ` without ${frozen.join(", ")}`}`),
    thawed: () => line("CALM", "the rest heals, too"),
    launched: ({ processId, workerId }) => line(workerId, `launches ${processId}`),
    processEnded: ({ processId }, how) => line(processId, `ends (${how})`),
    client: (process, seen) => {
      if (seen.kind === "submitted") line(process.id, `submit ${seen.key}: ${seen.id}${seen.created ? "" : " (known)"}`);
      else if (seen.kind === "cancelled") line(process.id, `cancel ${seen.id}: ${seen.state}`);
    },
    sinkCommitted: ({ applicationId, attempt, process }) =>
      line(process.id, `the output of try ${attempt} of ${applicationId} is visible`),
    masterState: (process, _name, state, epoch) => line(process.id, `${state} (epoch ${epoch})`),
  };
}

export function optionsText({ options }: RunResult): string {
  const { seed: _seed, network, settings, faults, heartbeats, ...others } = options;
  const facts = Object.entries(others).map(
    ([name, value]) => `${name} ${typeof value === "number" ? round(value) : String(value)}`,
  );
  const wires = `latency ${network.minLatencyMs}-${network.maxLatencyMs} ms, tail ${network.tailShare}`;
  const rest = `heartbeats ${heartbeats.heartbeatMs} ms, settings ${JSON.stringify(settings)}`;
  return `options: ${facts.join(", ")}\n         ${wires}, ${rest}\n         faults: ${faults.join(", ") || "none"}`;
}

export function scheduleText({ faults }: RunResult): string {
  const lines = faults.map(({ at, kind, subject }) => `${timeText(at)}  ${kind}: ${subject}`);
  return [`schedule of ${faults.length} faults:`, ...lines].join("\n");
}

export function resultText({ seed, violation, traceHash, events, virtualMs }: RunResult): string {
  const what = violation === null ? "ok" : `VIOLATION ${violation.message}`;
  return `seed ${seed}: ${what}\n         trace ${traceHash}, ${events} events, ${(virtualMs / 1000).toFixed(1)} s of virtual time`;
}

const round = (value: number): string => String(Math.round(value * 1000) / 1000);
