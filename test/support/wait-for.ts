/** Waits for a condition, with a deadline instead of a hopeful sleep. */
export async function waitFor(condition: () => boolean, deadlineMs = 60_000): Promise<void> {
  const until = performance.now() + deadlineMs;
  while (!condition()) {
    if (performance.now() > until)
      throw new Error(`the condition did not come true within ${deadlineMs} ms: ${condition.toString()}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}
