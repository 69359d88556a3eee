import { defineConfig } from "vitest/config";

/**
 * Two projects: `unit` is deterministic and touches no process or port; `integration` runs real processes, files and sockets.
 * A timeout ends what hangs; it is no measure of speed, and no loaded machine may reach it.
 */
export default defineConfig({
  test: {
    projects: [
      { test: { name: "unit", include: ["src/**/*.test.ts", "test/unit/**/*.test.ts"], testTimeout: 120_000 } },
      {
        test: {
          name: "integration",
          include: ["test/integration/**/*.test.ts"],
          testTimeout: 240_000,
          hookTimeout: 240_000,
          // Most of a scenario is waiting for processes: three files at once keep two cores busy, and more would starve each other.
          maxWorkers: 3,
        },
      },
    ],
  },
});
