/** The event time of a chain with inputs: the watermarks of its channels, joined. Channels of a join's second input, which is read to its end first, don't count. */
import { type Watermark, WatermarkMerge } from "../../../dataflow/time/watermarks.js";
import { type ChannelId, channelKey } from "../network.js";
import type { ChainTime } from "./chain-time.js";

export class InputTime {
  private readonly chain: ChainTime;
  private readonly counted: ReadonlySet<string>;
  private readonly merge: WatermarkMerge<string>;
  private held: boolean;

  /** `held`: records wait before the chain, and time with them, until `release`. */
  constructor(chain: ChainTime, channels: readonly ChannelId[], held: boolean) {
    this.chain = chain;
    this.counted = new Set(channels.map(channelKey));
    this.merge = new WatermarkMerge(this.counted, chain.watermarkMs);
    this.held = held;
  }

  async watermark(channel: ChannelId, watermark: Watermark): Promise<void> {
    const key = channelKey(channel);
    if (this.counted.has(key)) await this.reached(this.merge.advance(key, watermark));
  }

  async ended(channel: ChannelId): Promise<void> {
    const key = channelKey(channel);
    if (this.counted.has(key)) await this.reached(this.merge.ended(key));
  }

  async release(): Promise<void> {
    this.held = false;
    await this.chain.advance(this.merge.current);
  }

  private async reached(watermark: Watermark | null): Promise<void> {
    if (watermark !== null && !this.held) await this.chain.advance(watermark);
  }
}
