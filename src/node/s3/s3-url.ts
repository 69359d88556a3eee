/**
 * `s3://bucket/prefix?region=eu-central-1&endpoint=http://host:9000`: where blobs are kept, in one text that stands in records and on command lines.
 *
 * Invariant: it never holds credentials. Those come from where the AWS SDK looks for them on each machine.
 */
import { CodedError } from "../../base/errors.js";

export interface S3Place {
  readonly bucket: string;
  /** Without slashes at its ends; empty: the bucket itself. */
  readonly prefix: string;
  /** Null: as the environment says, or us-east-1. */
  readonly region: string | null;
  /** Of a server other than AWS's; objects are named by path there, not by host. */
  readonly endpoint: string | null;
}

const BUCKET = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/;
const PREFIX = /^[A-Za-z0-9!_.*'()/-]{0,256}$/;
const HINT = "Write s3://bucket/prefix, with ?region=NAME, and &endpoint=http://host:9000 for a server other than AWS's.";

export const isS3Url = (text: string): boolean => /^s3:/i.test(text);

/** Throws INVALID_ARGUMENT, and repeats nothing that may be a password. */
export function parseS3Url(text: string): S3Place {
  const refuse = (why: string): CodedError => new CodedError("INVALID_ARGUMENT", `The storage s3://... ${why}.`, { hint: HINT });
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw refuse("is no URL");
  }
  if (url.username !== "" || url.password !== "") {
    throw new CodedError("INVALID_ARGUMENT", "The storage s3://... holds credentials, which would stand in records.", {
      hint: "Put them where the AWS SDK looks: ~/.aws/credentials of the user that runs masters and workers, or a role of the machine.",
    });
  }
  const bucket = url.hostname;
  if (!BUCKET.test(bucket)) throw refuse(`has the bucket "${bucket}", which is no name of one`);
  const prefix = decodeURIComponent(url.pathname).replace(/^\/+|\/+$/g, "");
  if (!PREFIX.test(prefix) || prefix.split("/").some((part) => part === "." || part === ".." || (part === "" && prefix !== "")))
    throw refuse("has a prefix with other characters than A-Z a-z 0-9 ! _ . * ' ( ) / -, or with empty parts");
  for (const name of url.searchParams.keys())
    if (name !== "region" && name !== "endpoint") throw refuse(`has the parameter "${name}", which is not known`);
  return { bucket, prefix, region: url.searchParams.get("region"), endpoint: endpointOf(url.searchParams.get("endpoint"), refuse) };
}

function endpointOf(text: string | null, refuse: (why: string) => CodedError): string | null {
  if (text === null) return null;
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw refuse("has an endpoint that is no URL");
  }
  if (!/^https?:$/.test(url.protocol) || url.username !== "" || url.pathname !== "/" || url.search !== "")
    throw refuse("has an endpoint that is not http://host:port or https://host:port");
  return url.origin;
}

/** As it stands in records: the same text for the same place. */
export function formatS3Url({ bucket, prefix, region, endpoint }: S3Place): string {
  const words = new URLSearchParams({
    ...(region === null ? {} : { region }),
    ...(endpoint === null ? {} : { endpoint }),
  }).toString();
  return `s3://${bucket}${prefix === "" ? "" : `/${prefix}`}${words === "" ? "" : `?${words}`}`;
}
