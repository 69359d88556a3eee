/** A source that could give gigabytes a minute, and a sink that takes a batch now and then. */
import { defineJob, type SinkConnector, sinks, sources } from "holdfast";

const slow: SinkConnector<unknown> = {
  open: async () => ({
    write: () => new Promise((resolve) => setTimeout(resolve, 100)),
    prepare: async () => null,
    abort: async () => undefined,
    close: async () => undefined,
  }),
  commit: async () => undefined,
  cleanUp: async () => undefined,
};

export default defineJob({
  id: "slow-sink",
  parallelism: 2,
  build(job) {
    job
      .from("numbers", sources.numbers())
      .map((n) => ({ key: n % 1_000, name: `record number ${n}`, text: "lorem ipsum dolor sit amet ".repeat(8) + n }))
      .keyBy((record) => record.key)
      .process("pass", { onElement: (record) => [record] })
      .to("slow", sinks.custom(slow));
  },
});
