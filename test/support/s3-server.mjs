/**
 * s3rver (npm) with what it lacks: it takes every version 4 signature of a known key for right, so this checks them first, by the published algorithm and
 * Node's own hashes. Its words: PORT DIRECTORY BUCKET SECRET. It prints its port.
 */
import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";
import S3rver from "s3rver";

const [port, directory, bucket, secret] = process.argv.slice(2);
const KEY = "S3RVER";
const sha256 = (text) => createHash("sha256").update(text).digest("hex");
const hmac = (key, text) => createHmac("sha256", key).update(text).digest();
const encoded = (text) =>
  encodeURIComponent(text).replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);

/** https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html */
function isSigned(request) {
  const pattern =
    /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/s3\/aws4_request, ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})$/;
  const [, key, day, region, names, signature] = pattern.exec(request.headers.authorization ?? "") ?? [];
  if (key !== KEY || !names.split(";").includes("host")) return false;
  const [path, query = ""] = request.url.split("?");
  const parameters = [...new URLSearchParams(query)].map(([name, value]) => `${encoded(name)}=${encoded(value)}`).sort();
  const headers = names.split(";").map(
    (name) =>
      `${name}:${String(request.headers[name] ?? "")
        .trim()
        .replace(/ +/g, " ")}\n`,
  );
  const payload = request.headers["x-amz-content-sha256"] ?? "";
  const canonical = [request.method, path, parameters.join("&"), headers.join(""), names, payload].join("\n");
  const scope = `${day}/${region}/s3/aws4_request`;
  const toSign = ["AWS4-HMAC-SHA256", request.headers["x-amz-date"], scope, sha256(canonical)].join("\n");
  const signing = [day, region, "s3", "aws4_request"].reduce(hmac, `AWS4${secret}`);
  return timingSafeEqual(hmac(signing, toSign), Buffer.from(signature, "hex"));
}

const store = new S3rver({ silent: true, directory, configureBuckets: [{ name: bucket }] });
await store.configureBuckets();
const serve = store.callback();
const server = createServer((request, response) => {
  if (isSigned(request)) {
    serve(request, response);
    return;
  }
  request.resume();
  response.writeHead(403, { "content-type": "application/xml" });
  response.end(`<?xml version="1.0"?><Error><Code>SignatureDoesNotMatch</Code><Message>The signature is wrong.</Message></Error>`);
});
server.listen(Number(port), "127.0.0.1", () => console.log(`port ${server.address().port}`));
