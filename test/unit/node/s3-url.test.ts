import { describe, expect, test } from "vitest";
import { formatS3Url, isS3Url, parseS3Url } from "../../../src/node/s3/s3-url.js";

describe("s3://bucket/prefix", () => {
  test.each([
    ["s3://my-bucket", { bucket: "my-bucket", prefix: "", region: null, endpoint: null }, "s3://my-bucket"],
    ["s3://my.bucket/a/b/", { bucket: "my.bucket", prefix: "a/b", region: null, endpoint: null }, "s3://my.bucket/a/b"],
    [
      "s3://b-1/p?endpoint=http://10.0.0.1:9000&region=eu-west-1",
      { bucket: "b-1", prefix: "p", region: "eu-west-1", endpoint: "http://10.0.0.1:9000" },
      "s3://b-1/p?region=eu-west-1&endpoint=http%3A%2F%2F10.0.0.1%3A9000",
    ],
  ])("%s is understood, and written in one way", (text, place, written) => {
    expect(isS3Url(text)).toBe(true);
    expect(parseS3Url(text)).toEqual(place);
    expect(formatS3Url(parseS3Url(text))).toBe(written);
    expect(parseS3Url(written)).toEqual(place);
  });

  test.each([
    "s3://",
    "s3://UPPER",
    "s3://b",
    "s3://bucket/a//b",
    "s3://bucket/a%00b",
    "s3://bucket/p?profile=x",
    "s3://bucket/p?endpoint=ftp://h",
    "s3://bucket/p?endpoint=http://h/path",
    "s3://bucket/p?endpoint=nonsense",
  ])("%s is refused", (text) => {
    expect(() => parseS3Url(text)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT", hint: expect.any(String) }));
  });

  test("credentials in it are refused and not repeated", () => {
    for (const text of ["s3://AKIA:geheim@bucket/p", "s3://bucket/p?endpoint=http://me:geheim@h:1"])
      expect(() => parseS3Url(text)).toThrow(
        expect.objectContaining({ code: "INVALID_ARGUMENT", message: expect.not.stringContaining("geheim") }),
      );
  });
});
