/**
 * Keeps the program alive while something is under way that waits on timers only (which never keep it alive by themselves): a stop that gives
 * processes their grace, the killing of leftovers. Otherwise Node would end in the middle of it when nothing else is open.
 */
const LONG_MS = 2 ** 30;

export interface KeepAlive {
  during<T>(work: Promise<T>): Promise<T>;
}

export function createKeepAlive(): KeepAlive {
  let count = 0;
  let timer: NodeJS.Timeout | undefined;
  return {
    during: async (work) => {
      count += 1;
      timer ??= setInterval(() => {}, LONG_MS);
      try {
        return await work;
      } finally {
        count -= 1;
        if (count === 0) {
          clearInterval(timer);
          timer = undefined;
        }
      }
    },
  };
}
