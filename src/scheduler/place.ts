/**
 * FIFO placement with back-fill that delays nobody.
 *
 * Requests come in the order of their submission. One that fits is placed. The first that does not is BLOCKED, and from then on a later
 * request may only use, on each worker,
 *
 *     free - (the sum, over all blocked requests before it, of everything that request could ever put on that worker)
 *
 * where "could ever" means all its parts that fit the worker when it is empty. Run times are unknown, so this is the only bound that holds
 * whatever ends next: for every set of running processes that may end, a blocked request that could be placed without the back-filled ones
 * can be placed beside them, with the same assignment (on each worker it uses at most what was left untouched). In particular a stream of
 * small applications cannot starve a large one, and workers too small for the blocked ones stay in use.
 *
 * A request that the present workers could not hold even when they were empty blocks nobody: nothing that ends can start it.
 *
 * Invariants: never more placed on a worker than it has free (I11); a request with `all` is placed whole or not at all; equal input gives
 * equal output.
 */
import type { Amount, Capacity, Placement } from "./capacity.js";

export interface Part {
  readonly amount: Amount;
  readonly count: number;
}

export interface PlacementRequest<Owner> {
  readonly owner: Owner;
  readonly parts: readonly Part[];
  /** Placed whole or not at all (a start). Otherwise as many as fit (executors in place of lost ones). */
  readonly all: boolean;
  /** A worker to be used only when no other has room. */
  readonly avoid: string | null;
  /** Whether the workers could hold it when empty; asked only when it does not fit now. */
  readonly possible: () => boolean;
}

export interface Placed<Owner> {
  readonly request: PlacementRequest<Owner>;
  /** For each part, the workers of its processes; shorter than `count` only without `all`. */
  readonly workers: readonly (readonly string[])[];
}

export interface PlacementResult<Owner> {
  readonly placed: readonly Placed<Owner>[];
  readonly blocked: readonly PlacementRequest<Owner>[];
  readonly impossible: readonly PlacementRequest<Owner>[];
  /** The limit on placements was reached: call again. */
  readonly more: boolean;
}

export interface PlacementOptions {
  readonly placement: Placement;
  /** Stop after this many placed requests (each is a durable record; a turn is bounded). */
  readonly maxPlaced: number;
  /** Stop looking for back-fill behind this many blocked requests: each costs time in proportion to the number of workers. */
  readonly maxBlocked: number;
}

export function placeInOrder<Owner>(
  capacity: Capacity,
  requests: Iterable<PlacementRequest<Owner>>,
  options: PlacementOptions,
): PlacementResult<Owner> {
  const placed: Placed<Owner>[] = [];
  const blocked: PlacementRequest<Owner>[] = [];
  const impossible: PlacementRequest<Owner>[] = [];
  // What later requests may use; null while nobody is blocked.
  let leftover: Capacity | null = null;
  for (const request of requests) {
    if (placed.length >= options.maxPlaced) return { placed, blocked, impossible, more: true };
    const workers = placeOne(leftover ?? capacity, request, options.placement);
    if (workers !== null) {
      placed.push({ request, workers });
      if (leftover !== null) takeAll(capacity, request, workers);
      if (workers.every((list, part) => list.length === request.parts[part]?.count)) continue;
    }
    if (!request.possible()) {
      if (workers === null) impossible.push(request);
      continue;
    }
    blocked.push(request);
    if (blocked.length >= options.maxBlocked) break;
    leftover = without(leftover ?? capacity, request);
  }
  return { placed, blocked, impossible, more: false };
}

function without<Owner>(capacity: Capacity, request: PlacementRequest<Owner>): Capacity {
  return capacity.derive((total, free) => {
    let milliCores = free.milliCores;
    let memoryBytes = free.memoryBytes;
    for (const { amount, count } of request.parts) {
      if (amount.milliCores > total.milliCores || amount.memoryBytes > total.memoryBytes) continue;
      milliCores -= amount.milliCores * count;
      memoryBytes -= amount.memoryBytes * count;
    }
    return { milliCores: Math.max(0, milliCores), memoryBytes: Math.max(0, memoryBytes) };
  });
}

/** Takes what it places from the capacity. Null: nothing placed. */
function placeOne<Owner>(capacity: Capacity, request: PlacementRequest<Owner>, placement: Placement): string[][] | null {
  const shunned = request.avoid === null ? null : capacity.free(request.avoid);
  if (request.avoid !== null && shunned !== null) {
    capacity.take(request.avoid, shunned);
    const elsewhere = placeParts(capacity, request, placement);
    capacity.give(request.avoid, shunned);
    if (elsewhere !== null) return elsewhere;
  }
  return placeParts(capacity, request, placement);
}

function placeParts<Owner>(capacity: Capacity, request: PlacementRequest<Owner>, placement: Placement): string[][] | null {
  const workers = placeGreedily(capacity, request, placement);
  if (workers !== null || !request.all) return workers;
  const [one, many] = request.parts;
  if (one?.count !== 1 || many === undefined) return null;
  // The driver may have taken the very room that an executor needs: look where it takes the least.
  const host = cheapestHost(freeOf(capacity), [one, many]);
  if (host === null) return null;
  capacity.take(host, one.amount);
  const rest = placeGreedily(capacity, { ...request, parts: [many] }, placement)?.[0];
  if (rest !== undefined) return [[host], rest];
  capacity.give(host, one.amount);
  return null;
}

function placeGreedily<Owner>(capacity: Capacity, request: PlacementRequest<Owner>, placement: Placement): string[][] | null {
  const workers: string[][] = [];
  let any = false;
  for (const { amount, count } of request.parts) {
    const list: string[] = [];
    workers.push(list);
    while (list.length < count) {
      const worker = capacity.find(amount, placement);
      if (worker === null) break;
      capacity.take(worker, amount);
      list.push(worker);
      any = true;
    }
    if (list.length < count && request.all) {
      giveAll(capacity, request, workers);
      return null;
    }
  }
  return any ? workers : null;
}

/** Whether all parts have room now; takes that room from the capacity. */
export function takeRoom(capacity: Capacity, parts: readonly Part[], placement: Placement): boolean {
  const request = { owner: null, parts, all: true, avoid: null, possible: () => true };
  return placeOne(capacity, request, placement) !== null;
}

function takeAll<Owner>(capacity: Capacity, request: PlacementRequest<Owner>, workers: readonly (readonly string[])[]): void {
  workers.forEach((list, part) => {
    const amount = request.parts[part]?.amount;
    if (amount !== undefined) for (const worker of list) capacity.take(worker, amount);
  });
}

function giveAll<Owner>(capacity: Capacity, request: PlacementRequest<Owner>, workers: readonly (readonly string[])[]): void {
  workers.forEach((list, part) => {
    const amount = request.parts[part]?.amount;
    if (amount !== undefined) for (const worker of list) capacity.give(worker, amount);
  });
}

/**
 * Whether workers with these totals could hold all parts when empty. Exact for one part, and for one process beside equal others
 * (a job: its driver and its executors), which is all there is.
 */
export function fitsWhenEmpty(totals: Iterable<readonly [string, Amount]>, parts: readonly Part[]): boolean {
  const [first, second] = parts;
  if (first === undefined) return true;
  if (second !== undefined) return cheapestHost(totals, [first, second]) !== null;
  let room = 0;
  for (const [, total] of totals) room += places(total, first.amount);
  return room >= first.count;
}

function* freeOf(capacity: Capacity): Iterable<readonly [string, Amount]> {
  for (const id of capacity.ids()) {
    const free = capacity.free(id);
    if (free !== null) yield [id, free];
  }
}

/** Where the single process costs the others the fewest places (ties: the smallest id), or null when not all of them have room. */
function cheapestHost(rooms: Iterable<readonly [string, Amount]>, [one, many]: readonly [Part, Part]): string | null {
  let room = 0;
  let price = Number.POSITIVE_INFINITY;
  let host: string | null = null;
  for (const [id, total] of rooms) {
    const here = places(total, many.amount);
    room += here;
    if (!holds(total, one.amount)) continue;
    const beside = {
      milliCores: total.milliCores - one.amount.milliCores,
      memoryBytes: total.memoryBytes - one.amount.memoryBytes,
    };
    const cost = here - places(beside, many.amount);
    if (cost < price || (cost === price && host !== null && id < host)) {
      price = cost;
      host = id;
    }
  }
  return room - price >= many.count ? host : null;
}

const holds = (total: Amount, amount: Amount): boolean =>
  total.milliCores >= amount.milliCores && total.memoryBytes >= amount.memoryBytes;

function places(total: Amount, amount: Amount): number {
  const byCores = amount.milliCores === 0 ? MANY : Math.floor(total.milliCores / amount.milliCores);
  const byMemory = amount.memoryBytes === 0 ? MANY : Math.floor(total.memoryBytes / amount.memoryBytes);
  return Math.max(0, Math.min(byCores, byMemory));
}

const MANY = 1_000_000;
