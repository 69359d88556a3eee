/** A source and a sink of the job's own that fail in the driver. */
import { defineJob, type SinkConnector, type SourceConnector, sinks, sources } from "holdfast";

const source = (how: string): SourceConnector<number> => ({
  bounded: true,
  enumerate: async () => {
    if (how === "throw") throw new Error("cannot list");
    if (how === "exit") process.exit(3);
    if (how === "late") {
      setTimeout(() => {
        throw new Error("late in the driver");
      }, 1);
      await new Promise(() => undefined);
    }
    return { splits: [{ id: "only", sizeHint: 1 }], totalRecords: 1, totalBytes: null };
  },
  open: async () => {
    let given = 0;
    return {
      next: (out) => {
        if (given === 1) return 0;
        out[0] = ++given;
        return 1;
      },
      position: () => given,
      progress: () => given,
      close: async () => undefined,
    };
  },
});

const sink = (how: string): SinkConnector<number> => ({
  begin: async () => {
    if (how === "begin") throw new Error("cannot begin");
  },
  open: async () => ({
    write: () => undefined,
    prepare: async () => "part",
    abort: async () => undefined,
    close: async () => undefined,
  }),
  commit: async () => undefined,
  cleanUp: async () => {
    if (how === "clean-up") throw new Error("cannot clean up");
  },
});

export default defineJob({
  id: "own-connectors",
  restart: { strategy: "none" },
  build(job, { how }) {
    job.from("in", sources.custom(source(String(how)))).to("out", sinks.custom(sink(String(how))));
  },
});
