import { describe, expect, it } from 'vitest'
import type { ServedCalls } from '../../src/calls/measured-upstreams.ts'
import { gaugeKeysMax, gaugeOwnerBytesMax } from '../../src/gossip/limits.ts'
import { OwnValues } from '../../src/gossip/own-values.ts'
import { serverGauges } from '../../src/node/server-gauges.ts'
import type { ServerName } from '../../src/vocabulary/ids.ts'

/** Server `at` of `count` was called `at + 1` times, so the last ones are called most. */
function servers(count: number, nameLength: number): Map<ServerName, ServedCalls> {
  const nameOf = (at: number): ServerName => `s${at}`.padEnd(nameLength, 'x') as ServerName
  return new Map(Array.from({ length: count }, (_, at) => [nameOf(at), { calls: at + 1, failed: 0, totalMs: 0 }]))
}
/** Beside these neither limit comes out even: one server more, or one key forgotten, is too much. */
const others = new Map([
  ['cpu', 0.5],
  ['x'.repeat(48), 1],
])

describe('the gauges of servers', () => {
  it('are the mean latency and the share of failed calls', () => {
    const fared = new Map([
      ['files' as ServerName, { calls: 3, failed: 1, totalMs: 1000 }],
      ['sql' as ServerName, { calls: 10, failed: 0, totalMs: 25 }],
    ])
    expect(Object.fromEntries(serverGauges(fared, others))).toEqual({
      serversLeftOut: 0,
      'latencyMs.files': 333.333,
      'errorRate.files': 0.333,
      'latencyMs.sql': 2.5,
      'errorRate.sql': 0,
    })
    expect(Object.fromEntries(serverGauges(new Map(), others))).toEqual({ serversLeftOut: 0 })
  })

  it.each<[limit: string, count: number, nameLength: number, told: number]>([
    ['neither limit', 20, 20, 20],
    ['keys', 300, 4, Math.floor((gaugeKeysMax - 3) / 2)],
    ['bytes', 300, 48, Math.floor((gaugeOwnerBytesMax - (12 + 3) - (12 + 48) - (12 + 14)) / (2 * 12 + 20 + 2 * 48))],
  ])('leave the least called out and count them, and gossip takes the rest: %s', (_, count, nameLength, told) => {
    const given = servers(count, nameLength)
    const gauges = serverGauges(given, others)
    expect(gauges.get('serversLeftOut')).toBe(count - told)
    expect([...gauges.keys()].filter((key) => key.startsWith('latencyMs.'))).toEqual(
      [...given.keys()]
        .toReversed()
        .slice(0, told)
        .map((name) => `latencyMs.${name}`),
    )
    expect(new OwnValues(1).setGauges(new Map([...others, ...gauges]))).toBeNull()
  })
})
