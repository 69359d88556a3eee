/** Numbers that happened a little out of order, and what the job `timed-numbers` gives for them, from plain loops. */

/** A number happened at most so many milliseconds before those that came before it. */
export const DISORDER_MS = 100;
export const timeOf = (n: number): number => n - ((n * 7_919) % DISORDER_MS);

export const WINDOW_MS = 1_000;
export const GAP_MS = 300;
export const ALARM_MS = 1_500;
export const NEAR_MS = 40;

/** Numbers that make sessions, and both sides of the join. */
export const inSession = (n: number): boolean => n % 4_000 < 1_000;
export const isLeft = (n: number): boolean => n % 100 === 0;
export const isRight = (n: number): boolean => n % 50 === 25;
export const alarmOf = (n: number): number => Math.ceil((timeOf(n) + 1) / ALARM_MS) * ALARM_MS;

export type Result =
  | { readonly kind: "window"; readonly key: number; readonly start: number; readonly count: number; readonly sum: number }
  | { readonly kind: "session"; readonly key: number; readonly start: number; readonly end: number; readonly count: number }
  | { readonly kind: "alarm"; readonly key: number; readonly at: number; readonly isDue: boolean }
  | { readonly kind: "pair"; readonly left: number; readonly right: number }
  /** Event time went back: never expected. */
  | { readonly kind: "backwards"; readonly from: number; readonly to: number };

export function expectedOf(count: number): Result[] {
  const numbers = Array.from({ length: count }, (_, n) => n);
  return [...windowsOf(numbers), ...sessionsOf(numbers), ...alarmsOf(numbers), ...pairsOf(numbers)];
}

function windowsOf(numbers: readonly number[]): Result[] {
  const found = new Map<string, { kind: "window"; key: number; start: number; count: number; sum: number }>();
  for (const n of numbers) {
    const [key, start] = [n % 10, Math.floor(timeOf(n) / WINDOW_MS) * WINDOW_MS];
    const window = found.get(`${key} ${start}`) ?? { kind: "window", key, start, count: 0, sum: 0 };
    window.count += 1;
    window.sum += n;
    found.set(`${key} ${start}`, window);
  }
  return [...found.values()];
}

function sessionsOf(numbers: readonly number[]): Result[] {
  const found: { kind: "session"; key: number; start: number; end: number; count: number }[] = [];
  for (const key of [0, 1, 2]) {
    const times = numbers.filter((n) => inSession(n) && n % 3 === key).map(timeOf);
    for (const time of times.sort((a, b) => a - b)) {
      const last = found.at(-1);
      if (last === undefined || last.key !== key || last.end < time)
        found.push({ kind: "session", key, start: time, end: time + GAP_MS, count: 1 });
      else {
        last.end = time + GAP_MS;
        last.count += 1;
      }
    }
  }
  return found;
}

function alarmsOf(numbers: readonly number[]): Result[] {
  const found = new Map<string, Result>();
  for (const n of numbers) found.set(`${n % 7} ${alarmOf(n)}`, { kind: "alarm", key: n % 7, at: alarmOf(n), isDue: true });
  return [...found.values()];
}

function pairsOf(numbers: readonly number[]): Result[] {
  const rights = numbers.filter(isRight);
  return numbers.filter(isLeft).flatMap((left) =>
    rights.flatMap((right) => {
      const apart = timeOf(right) - timeOf(left);
      return Math.abs(apart) <= NEAR_MS ? [{ kind: "pair" as const, left, right }] : [];
    }),
  );
}
