/** The packet filter of one virtual machine, as text for iptables-restore. Pure. */

export interface FilterRule {
  /** Name of the host whose packets do not get in. */
  readonly sender: string;
  readonly address: string;
  readonly kind: "drop" | "reset";
}

/**
 * Filtered is what comes in, never what goes out: the sender of a dropped packet must not learn of it. Resets pass, because a reset that
 * answers a rejected packet has to reach a host that rejects, too.
 */
export function filterTable(rules: readonly FilterRule[]): string {
  const drops = rules.filter(({ kind }) => kind === "drop").map(({ address }) => `-A INPUT -s ${address} -j DROP`);
  const rejects = rules
    .filter(({ kind }) => kind === "reset")
    .map(({ address }) => `-A INPUT -s ${address} -p tcp -j REJECT --reject-with tcp-reset`);
  const resets = rejects.length === 0 ? [] : ["-A INPUT -p tcp --tcp-flags RST RST -j ACCEPT"];
  const policies = ["INPUT", "FORWARD", "OUTPUT"].map((chain) => `:${chain} ACCEPT [0:0]`);
  return ["*filter", ...policies, ...drops, ...resets, ...rejects, "COMMIT"].join("\n");
}
