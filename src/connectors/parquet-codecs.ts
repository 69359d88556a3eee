/** Unpacks Parquet pages: by Node's zlib where it can, otherwise by hyparquet-compressors. */
import zlib from "node:zlib";
import type { CompressionCodec } from "hyparquet";
import { compressors } from "hyparquet-compressors";

type Unpack = (bytes: Uint8Array, sizeBytes: number) => Uint8Array;

const UNPACK: Readonly<Partial<Record<CompressionCodec, Unpack>>> = {
  UNCOMPRESSED: (bytes) => bytes,
  GZIP: (bytes, sizeBytes) => zlib.gunzipSync(bytes, { maxOutputLength: Math.max(1, sizeBytes) }),
  BROTLI: (bytes, sizeBytes) => zlib.brotliDecompressSync(bytes, { maxOutputLength: Math.max(1, sizeBytes) }),
  ...nativeZstd(),
};

/** Node 22.15 and later has it. */
function nativeZstd(): { ZSTD?: Unpack } {
  if (!("zstdDecompressSync" in zlib)) return {};
  const unpack: unknown = zlib.zstdDecompressSync;
  return typeof unpack === "function" ? { ZSTD: (bytes) => unpack(bytes) } : {};
}

export function decompress(codec: CompressionCodec, bytes: Uint8Array, sizeBytes: number): Buffer {
  const unpack = UNPACK[codec] ?? compressors[codec];
  if (unpack === undefined) throw new Error(`the compression ${codec} is not supported`);
  const unpacked = sizeBytes === 0 ? bytes.subarray(0, 0) : unpack(bytes, sizeBytes);
  if (unpacked.length !== sizeBytes) throw new Error(`a page has ${unpacked.length} bytes instead of ${sizeBytes}`);
  return Buffer.from(unpacked.buffer, unpacked.byteOffset, unpacked.length);
}
