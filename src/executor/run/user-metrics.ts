/** Counters of user code (`ctx.metrics.count`), by operator and name; bounded. */

/** Names an operator may have; further ones are dropped. */
const MAX_COUNTERS = 64;

export class Counters {
  private readonly byOperator = new Map<string, Map<string, number>>();

  add(operator: string, name: string, by: number): void {
    let names = this.byOperator.get(operator);
    if (names === undefined) {
      names = new Map();
      this.byOperator.set(operator, names);
    }
    const value = names.get(name);
    if (value !== undefined || names.size < MAX_COUNTERS) names.set(name, (value ?? 0) + by);
  }

  snapshot(): Record<string, number> {
    const all: Record<string, number> = {};
    for (const [operator, names] of this.byOperator) for (const [name, value] of names) all[`${operator}.${name}`] = value;
    return all;
  }
}
