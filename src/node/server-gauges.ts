import type { ServedCalls } from '../calls/measured-upstreams.ts'
import { gaugeKeysMax, gaugeOwnerBytesMax } from '../gossip/limits.ts'
import { gaugeEntryBytes } from '../gossip/messages.ts'
import { compareIds } from '../vocabulary/ids.ts'
import type { ServerName } from '../vocabulary/ids.ts'

/**
 * How servers fare on this node, as gauges beside the others: `latencyMs.{server}`, the mean, and `errorRate.{server}`, the
 * share of failed calls. What gossip takes of one node (`gaugeKeysMax`, `gaugeOwnerBytesMax`) bounds them: the least called
 * are left out, and `serversLeftOut` says how many.
 */
export function serverGauges(
  servers: ReadonlyMap<ServerName, ServedCalls>,
  others: ReadonlyMap<string, number>,
): ReadonlyMap<string, number> {
  const mostCalled = [...servers].toSorted(([a, { calls: ofA }], [b, { calls: ofB }]) => ofB - ofA || compareIds(a, b))
  const gauges = new Map([['serversLeftOut', servers.size]])
  let bytes = [...others.keys(), ...gauges.keys()].reduce((sum, key) => sum + gaugeEntryBytes({ key }), 0)
  for (const [at, [server, { calls, failed, totalMs }]] of mostCalled.entries()) {
    const [latency, errors] = [`latencyMs.${server}`, `errorRate.${server}`]
    bytes += gaugeEntryBytes({ key: latency }) + gaugeEntryBytes({ key: errors })
    if (bytes > gaugeOwnerBytesMax || others.size + gauges.size + 2 > gaugeKeysMax) break
    gauges.set(latency, rounded(totalMs / calls))
    gauges.set(errors, rounded(failed / calls))
    gauges.set('serversLeftOut', servers.size - at - 1)
  }
  return gauges
}

/** Gauges have three places, which is as much as anybody reads. */
export function rounded(value: number): number {
  return Math.round(value * 1000) / 1000
}
