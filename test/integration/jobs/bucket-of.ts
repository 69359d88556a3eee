export const bucketOf = (n: number, buckets: number): string => `bucket-${n % buckets}`;
