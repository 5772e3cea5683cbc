import { describe, expect, it } from 'vitest'
import { SyncTimes } from '../../src/consensus/sync-times.ts'
import { ManualClock } from './manual-clock.ts'

const times = (count: number, tookMs: number): number[] => Array.from({ length: count }, () => tookMs)
const upTo = (count: number): number[] => Array.from({ length: count }, (_, at) => (at + 1) / 100)

describe('how long synced writes took', () => {
  it.each<[what: string, tookMs: readonly number[], idleMs: number, p99Ms: number]>([
    ['none', [], 0, 0],
    ['one', [7], 0, 7],
    ['a few, of which the longest counts', [1, 100, 20, 3], 0, 100],
    ['one slow one in a hundred, which is left out', [...times(60, 1), 500, ...times(39, 1)], 0, 1],
    ['two slow ones in a hundred', [...times(60, 1), 500, 400, ...times(38, 1)], 0, 400],
    ['three hundred of different length', upTo(300), 0, 2.97],
    ['those of the last 5 s, to the edge', [4000, 10], 4990, 4000],
    ['those of the last 5 s, past the edge', [4000, 10], 4991, 10],
    ['all long ago', [10], 5001, 0],
    ['the newest 1024, all of which are kept', [...times(11, 2), ...times(1013, 1)], 0, 2],
    ['the newest 1024, which begin the ring anew', [...times(100, 2), ...times(1024, 1)], 0, 1],
  ])('tells 99 of 100: %s', (_, tookMs, idleMs, p99Ms) => {
    const clock = new ManualClock()
    const syncTimes = new SyncTimes(clock)
    for (const ms of tookMs) {
      const startedAtMs = clock.monotonic()
      clock.advance(ms)
      expect(syncTimes.add(startedAtMs)).toBeCloseTo(ms)
    }
    clock.advance(idleMs)
    expect(syncTimes.p99Ms).toBeCloseTo(p99Ms)
  })
})
