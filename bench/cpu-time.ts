/** Processor time of processes, by Linux' own accounting: what a process needed, whoever else wanted the cores. */
import { readdirSync, readFileSync } from "node:fs";

/** Milliseconds on a core of all threads that live now; NaN when the process is gone. */
export function cpuMs(pid: number): number {
  try {
    let nanoseconds = 0;
    for (const task of readdirSync(`/proc/${pid}/task`)) nanoseconds += onCpuNanoseconds(`/proc/${pid}/task/${task}/schedstat`);
    return nanoseconds / 1e6;
  } catch {
    return Number.NaN;
  }
}

/** Of the thread that runs the event loop alone: compiling and collecting garbage elsewhere is left out. */
export function loopCpuMs(pid: number): number {
  try {
    return onCpuNanoseconds(`/proc/${pid}/task/${pid}/schedstat`) / 1e6;
  } catch {
    return Number.NaN;
  }
}

const onCpuNanoseconds = (file: string): number => Number(readFileSync(file, "utf8").split(" ")[0]);
