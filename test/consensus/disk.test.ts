import { describe, expect, it } from 'vitest'
import { DiskSpace } from '../../src/consensus/disk-space.ts'
import { StallWatch } from '../../src/consensus/stall-watch.ts'
import { newCounters } from '../../src/consensus/status-report.ts'
import type { RaftStatus } from '../../src/raft/effects.ts'
import { ManualClock } from './manual-clock.ts'

const settle = (): Promise<void> => new Promise((resume) => setImmediate(resume))

function disk(reserveBytes = 100): {
  clock: ManualClock
  space: DiskSpace
  /** What the disk says from now on, and how often it was asked. */
  free: { bytes: number | Error; asked: number }
  seen: unknown[]
  /** The next second. */
  later: () => Promise<void>
} {
  const clock = new ManualClock()
  const free: { bytes: number | Error; asked: number } = { bytes: 1000, asked: 0 }
  const seen: unknown[] = []
  const space = new DiskSpace({
    clock,
    reserveBytes,
    freeBytes: () => {
      free.asked += 1
      return free.bytes instanceof Error ? Promise.reject(free.bytes) : Promise.resolve(free.bytes)
    },
    changed: () => seen.push([space.isFull, space.spareBytes]),
    log: (level, event) => seen.push(`${level} ${event}`),
  })
  const later = async (): Promise<void> => {
    clock.advance(1000)
    await settle()
  }
  return { clock, space, free, seen, later }
}

describe('the disk', () => {
  it('is full below the reserve, and has room only when a quarter more is free', async () => {
    const { space, free, seen, later } = disk()
    space.start()
    await settle()
    for (const bytes of [100, 99, 110, 124, 98, 125, 100, 5]) {
      free.bytes = bytes
      await later()
    }
    expect(seen).toEqual([
      'error disk-full',
      [true, 25],
      'info disk-has-room',
      [false, 0],
      'error disk-full',
      [true, 0],
    ])
    expect([space.isFull, space.freeBytes]).toEqual([true, 5])
    space.end()
  })

  it('leaves a quarter of the reserve to entries, as long as half of it is free', async () => {
    const { space, free, seen, later } = disk()
    space.start()
    await settle()
    for (const bytes of [90, 75, 74.5, 60, 70, 40, 90, 130, 65]) {
      free.bytes = bytes
      await later()
    }
    const told = seen.filter((each) => Array.isArray(each))
    expect(told).toEqual([
      [true, 25],
      [true, 24.5],
      [true, 10],
      [true, 0],
      [false, 0],
      [true, 15],
    ])
    space.end()
  })

  it('is asked once a second, and at once when a quarter of the reserve may have been written since', async () => {
    const { clock, space, free, later } = disk()
    space.start()
    await settle()
    space.wrote(25)
    await settle()
    expect(free.asked).toBe(1)
    free.bytes = 60
    space.wrote(1)
    space.wrote(1000)
    await settle()
    expect([free.asked, space.isFull]).toEqual([2, true])
    clock.advance(999)
    await settle()
    expect(free.asked).toBe(2)
    await later()
    expect(free.asked).toBe(3)
    space.end()
    await later()
    expect([free.asked, clock.timers]).toEqual([3, 0])
  })

  it('is never full without a reserve', async () => {
    const { space, free, seen } = disk(0)
    free.bytes = 0
    space.start()
    await settle()
    expect([seen, space.isFull, space.hasRoomFor(10)]).toEqual([[], false, true])
    space.end()
  })

  it('has room for a file that leaves half of the reserve', async () => {
    const { space } = disk()
    expect(space.hasRoomFor(1e9)).toBe(true)
    space.start()
    await settle()
    expect([space.hasRoomFor(950), space.hasRoomFor(951)]).toEqual([true, false])
    space.end()
  })

  it('counts for what it last told while it does not tell, which is said once', async () => {
    const { space, free, seen, later } = disk()
    free.bytes = 10
    space.start()
    await settle()
    free.bytes = new Error('EIO')
    await later()
    await later()
    expect([space.isFull, space.freeBytes]).toEqual([true, 10])
    free.bytes = 500
    await later()
    const full = ['error disk-full', [true, 0]]
    expect(seen).toEqual([...full, 'warn disk-space-unknown', 'info disk-has-room', [false, 0]])
    space.end()
  })

  it('tells nothing any more when its answer comes after the end', async () => {
    const { clock, space, free, seen } = disk()
    free.bytes = 0
    space.start()
    space.end()
    await settle()
    expect([seen, clock.timers]).toEqual([[], 0])
  })
})

describe('a disk that stands still', () => {
  it('is counted once for each time, and whether this node ceased to lead meanwhile', () => {
    let oldestMs = 0
    const counters = newCounters()
    const lines: string[] = []
    const watch = new StallWatch({
      oldestMs: () => oldestMs,
      limitMs: 500,
      counters,
      log: (level, event) => lines.push(`${level} ${event}`),
    })
    const status = (role: 'leader' | 'follower'): RaftStatus =>
      ({ role, term: 3, leader: null }) as unknown as RaftStatus
    const after = (ms: number): void => {
      oldestMs = ms
      watch.tick()
    }
    watch.raftChanged(status('leader'), status('follower'))
    after(499)
    expect([counters.stalls, counters.stallHandovers]).toEqual([0, 0])
    after(500)
    after(900)
    watch.raftChanged(status('leader'), status('leader'))
    watch.raftChanged(status('follower'), status('follower'))
    expect([counters.stalls, counters.stallHandovers]).toEqual([1, 0])
    watch.raftChanged(status('leader'), status('follower'))
    after(0)
    after(600)
    after(3)
    expect([counters.stalls, counters.stallHandovers]).toEqual([2, 1])
    expect(lines).toEqual([
      'warn disk-stalled',
      'warn stalled-leader-gave-up',
      'info disk-goes-on',
      'warn disk-stalled',
      'info disk-goes-on',
    ])
  })
})
