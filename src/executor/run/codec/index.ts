/** The batch codec: what the exchanges (and whatever else writes many records) use of this folder. */
export { BatchDecoder } from "./batch-decoder.js";
export { BatchEncoder, type BatchEncoderOptions, type EncodedBatch } from "./batch-encoder.js";
export { MAX_BATCH_RECORDS, MAX_PAYLOAD_BYTES } from "./limits.js";
export { createPortableTextCodec, detachText, type TextCodec } from "./text-codec.js";
