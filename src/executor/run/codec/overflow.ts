/** Thrown inside the encoder when a batch outgrows its bounds. Never leaves it: the batch is tried again with half of the records. */
export class PayloadOverflow extends Error {
  override readonly name = "PayloadOverflow";
}
