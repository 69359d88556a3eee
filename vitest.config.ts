import { defineConfig } from "vitest/config";

/** What CI has no time for: `npm run test:long`. Whatever is here has something shorter in CI that looks at the same promise. */
const LONG = ["test/integration/**/*.long.test.ts"];

const processes = {
  testTimeout: 240_000,
  hookTimeout: 240_000,
  isolate: false,
  // Most of a scenario is waiting for processes: three files at once keep two cores busy, and more would starve each other.
  maxWorkers: 3,
};

/**
 * Files share the processes that run them (`isolate: false`): a process of its own for each would cost more than most of them do. So a test file leaves nothing
 * behind in its process: no environment, no listener, no timer.
 *
 * Three projects: `unit` is deterministic and touches no process or port; `integration` runs real processes, files and sockets; so does `long`, which CI leaves out.
 * A timeout ends what hangs; it is no measure of speed, and no loaded machine may reach it.
 */
export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "unit",
          include: ["src/**/*.test.ts", "test/unit/**/*.test.ts"],
          testTimeout: 120_000,
          isolate: false,
          // Without it two cores would get one.
          maxWorkers: 2,
        },
      },
      { test: { ...processes, name: "integration", include: ["test/integration/**/*.test.ts"], exclude: LONG } },
      { test: { ...processes, name: "long", include: LONG } },
    ],
  },
});
