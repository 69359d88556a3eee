/** One turn of the event loop, as the program `sim` does it. */
export const drain = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
