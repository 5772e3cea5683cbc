import { describe, expect, it } from 'vitest'
import { scrubRestMs, scrubRoundMs } from '../../src/consensus/limits.ts'
import { LogWriter } from '../../src/consensus/log-writer.ts'
import { Scrub } from '../../src/consensus/scrub.ts'
import { newCounters } from '../../src/consensus/status-report.ts'
import type { Persist, SnapshotMeta } from '../../src/raft/effects.ts'
import type { Entry } from '../../src/raft/entry.ts'
import type { LogStore, ScrubDamage, ScrubReport } from '../../src/storage/log-store.ts'
import { OperatingError } from '../../src/vocabulary/operating-error.ts'
import { batch, entry, snapshotOf } from '../fixtures/log-batches.ts'
import { ManualClock } from './manual-clock.ts'

const settle = async (): Promise<void> => {
  for (let turn = 0; turn < 20; turn += 1) await new Promise((resume) => setImmediate(resume))
}

/** A log of entries 3 to 9 in memory, on a disk that answers as the test says. */
class Rig {
  readonly clock = new ManualClock()
  readonly counters = newCounters()
  readonly lines: string[] = []
  readonly failures: unknown[] = []
  /** What scrubs answer, oldest first; then all is clean, in slices of 10 bytes of which each is a round. */
  reports: Partial<ScrubReport>[] = []
  scrubs = 0
  readonly rewritten: number[][] = []
  current: SnapshotMeta | null = snapshotOf(4, 1)
  /** What `verify` says. */
  verdict: (pause: () => Promise<void>) => Promise<string | null> = () => Promise.resolve(null)
  readonly replaced: number[] = []
  #unstall: () => void = () => undefined
  readonly writer: LogWriter
  readonly scrub: Scrub

  constructor(lastIndex = 9) {
    const store = {
      write: () => new Promise<void>((resolve) => void (this.#unstall = resolve)),
      scrub: () => {
        this.scrubs += 1
        const report = { records: 1, bytes: 10, isRoundDone: true, damage: null, ...this.reports.shift() }
        return Promise.resolve(report)
      },
      rewrite: (entries: readonly Entry[]) => {
        this.rewritten.push(entries.map(({ index }) => index))
        return Promise.resolve()
      },
    } as unknown as LogStore
    const failed = (error: unknown): void => void this.failures.push(error)
    const { clock, counters } = this
    const current = (): SnapshotMeta | null => this.current
    this.writer = new LogWriter({ store, clock, counters, durable: () => undefined, failed })
    this.scrub = new Scrub({
      store,
      files: { verify: (_, pause = () => Promise.resolve()) => this.verdict(pause) },
      writer: this.writer,
      raft: {
        entries: (first, last) =>
          Array.from({ length: lastIndex - 2 }, (_, at) => entry(at + 3, 1)).filter(
            ({ index }) => index >= first && index <= last,
          ),
      },
      snapshots: {
        get current() {
          return current()
        },
        replace: (damaged) => void this.replaced.push(damaged.index),
      },
      clock,
      counters,
      failed,
      log: (level, event) => this.lines.push(`${level} ${event}`),
    })
    this.scrub.start()
  }

  async after(ms: number): Promise<void> {
    this.clock.advance(ms)
    await settle()
  }

  /** Writes that do not end until `unstall`. */
  stall(...persists: Persist[]): void {
    for (const persist of persists) this.writer.write(persist)
  }

  unstall(): void {
    this.#unstall()
  }
}

function damage(mend: ScrubDamage['mend']): Pick<ScrubReport, 'damage'> {
  return { damage: { why: 'entry 5 is damaged', mend } }
}

function times(count: number, ...reports: readonly Partial<ScrubReport>[]): Partial<ScrubReport>[] {
  return Array.from({ length: count }, (_, at) => reports[at % reports.length] ?? {})
}

// oxlint-disable-next-line unicorn/no-thenable -- a list of messages
const persist: Persist = { ...batch({ term: 1 }), seq: 1, mustSync: true, then: [] }
const minute = 60_000

describe('a scrub', () => {
  it('begins after a minute and reads everything in about 100', async () => {
    const rig = new Rig()
    rig.reports = Array.from({ length: 4 }, (_, at) => ({ bytes: 25, isRoundDone: at === 3 }))
    await rig.after(minute - 1)
    expect(rig.scrubs).toBe(0)
    await rig.after(1)
    expect(rig.scrubs).toBe(1)
    for (let at = 0; at < 10; at += 1) await rig.after(scrubRoundMs)
    expect(rig.counters).toMatchObject({ damageFound: 0, scrubbedBytes: 100 + (rig.scrubs - 4) * 10 })
    // From the second round on its length is known: four slices of a quarter.
    const second = new Rig()
    second.reports = Array.from({ length: 12 }, (_, at) => ({ bytes: 25, isRoundDone: at % 4 === 3 }))
    for (let at = 0; second.counters.scrubRounds < 1; at += 1) await second.after(minute)
    const startMs = second.clock.now()
    while (second.counters.scrubRounds < 2) await second.after(minute)
    expect(second.clock.now() - startMs).toBe(scrubRoundMs)
  })

  it('lets writes that wait go first', async () => {
    const rig = new Rig()
    rig.stall(persist)
    await rig.after(minute)
    expect(rig.scrubs).toBe(1)
    const busy = new Rig()
    busy.stall(persist, { ...persist, seq: 2 })
    await busy.after(2 * minute)
    expect(busy.scrubs).toBe(0)
    busy.unstall()
    await settle()
    await busy.after(1000)
    expect(busy.scrubs).toBe(1)
  })

  it('has damaged entries written again, and rests only when a whole round was clean after that', async () => {
    const rig = new Rig()
    rig.reports = [
      { ...damage({ first: 5, last: 6 }), isRoundDone: false },
      { isRoundDone: true },
      { isRoundDone: true },
    ]
    await rig.after(minute)
    for (let at = 0; at < 3; at += 1) await rig.after(1000)
    expect([rig.rewritten, rig.scrubs, rig.failures]).toEqual([[[5, 6]], 3, []])
    expect(rig.counters).toMatchObject({ damageFound: 1, damageMended: 1, scrubRounds: 2 })
    expect(rig.lines).toEqual(['error damage-found', 'warn damage-mended'])
    await rig.after(10 * minute)
    expect(rig.scrubs).toBe(3)
  })

  it('has the records that are no entries written again', async () => {
    const rig = new Rig()
    rig.reports = [damage({ first: 1, last: 0 })]
    await rig.after(minute)
    expect([rig.rewritten, rig.counters.damageMended]).toEqual([[[]], 1])
  })

  it('counts what the store has mended by itself', async () => {
    const rig = new Rig()
    rig.reports = [damage('done')]
    await rig.after(minute)
    expect([rig.rewritten, rig.counters.damageFound, rig.counters.damageMended]).toEqual([[], 1, 1])
  })

  it.each<[string, Partial<ScrubReport>[]]>([
    ['what only a start can mend', [damage('restart')]],
    ['what is damaged again and again', times(11, damage({ first: 5, last: 6 }), damage({ first: 6, last: 6 }))],
    ['what nobody has in memory', times(11, damage({ first: 2, last: 3 }))],
    [
      'records that are damaged again and again',
      times(11, damage({ first: 1, last: 0 }), damage({ first: 4, last: 3 })),
    ],
  ])('ends the node for %s', async (_, reports) => {
    const rig = new Rig()
    rig.reports = [...reports]
    await rig.after(minute)
    while (rig.reports.length > 0 && rig.failures.length === 0) await rig.after(1000)
    expect(rig.reports).toEqual([])
    expect(rig.failures).toEqual([expect.objectContaining({ code: 'storage-failed' })])
    expect((rig.failures[0] as Error).message).toContain('entry 5 is damaged')
    const { scrubs } = rig
    await rig.after(scrubRoundMs)
    expect(rig.scrubs).toBe(scrubs)
  })

  it('mends again what is damaged again after a clean round', async () => {
    const rig = new Rig()
    const again = damage({ first: 5, last: 5 })
    rig.reports = [again, {}, again]
    await rig.after(minute)
    await rig.after(1000)
    await rig.after(scrubRoundMs)
    expect([rig.rewritten, rig.failures]).toEqual([[[5], [5]], []])
  })

  it('looks again where the log has changed meanwhile', async () => {
    const rig = new Rig()
    rig.reports = [damage({ first: 5, last: 6 })]
    rig.stall(persist)
    await rig.after(minute)
    rig.stall({ ...persist, seq: 2, truncateFrom: 6 })
    rig.unstall()
    await settle()
    expect([rig.rewritten, rig.failures]).toEqual([[], []])
    rig.unstall()
    rig.reports = [damage({ first: 5, last: 5 })]
    await rig.after(1000)
    expect([rig.rewritten, rig.failures]).toEqual([[[5]], []])
  })

  it('writes a long range in pieces, so that others can be between', async () => {
    const rig = new Rig(600)
    rig.reports = [damage({ first: 3, last: 600 })]
    await rig.after(minute)
    expect(rig.rewritten.map((indexes) => [indexes[0], indexes.at(-1)])).toEqual([
      [3, 258],
      [259, 514],
      [515, 600],
    ])
  })

  it('has a new snapshot made in the place of a damaged one', async () => {
    const rig = new Rig()
    rig.verdict = () => Promise.resolve('4.snapshot: its checksum does not match')
    await rig.after(minute)
    expect([rig.replaced, rig.counters.damageFound, rig.failures]).toEqual([[4], 1, []])
  })

  it('takes no notice of a snapshot that was replaced while it was read', async () => {
    for (const verdict of [() => Promise.resolve('x'), () => Promise.reject(new Error('ENOENT'))]) {
      const rig = new Rig()
      rig.verdict = async () => {
        rig.current = snapshotOf(9, 1)
        return verdict()
      }
      await rig.after(minute)
      expect([rig.replaced, rig.failures, rig.counters.scrubRounds]).toEqual([[], [], 1])
    }
  })

  it('reads a snapshot piece by piece, rests between two, and lets writes that wait go first', async () => {
    const rig = new Rig()
    let pieces = 1
    rig.verdict = async (pause) => {
      for (; pieces < 4; pieces += 1) await pause()
      return null
    }
    await rig.after(minute)
    expect([pieces, rig.counters.scrubRounds]).toEqual([1, 0])
    await rig.after(scrubRestMs)
    expect(pieces).toBe(2)
    rig.stall(persist, { ...persist, seq: 2 })
    await rig.after(scrubRestMs)
    await rig.after(scrubRestMs)
    expect(pieces).toBe(2)
    rig.unstall()
    await settle()
    rig.unstall()
    await settle()
    await rig.after(scrubRestMs)
    await rig.after(scrubRestMs)
    expect([pieces, rig.counters.scrubRounds]).toEqual([4, 1])
  })

  it('reads no further piece of a snapshot when it ends', async () => {
    const rig = new Rig()
    let outcome: unknown
    rig.verdict = (pause) =>
      pause().then(
        () => null,
        (error: unknown) => {
          outcome = error
          throw error
        },
      )
    await rig.after(minute)
    await rig.scrub.end()
    expect([outcome, rig.clock.timers, rig.failures]).toEqual([expect.any(Error), 0, []])
  })

  it('ends the node when the disk does not let it read', async () => {
    const rig = new Rig()
    rig.verdict = () => Promise.reject(new OperatingError('storage-failed', 'read the snapshot'))
    await rig.after(minute)
    expect(rig.failures).toEqual([expect.objectContaining({ code: 'storage-failed' })])
  })

  it('leaves no timer when it ends, and waits for what it reads', async () => {
    const rig = new Rig()
    let read: (verdict: string | null) => void = () => undefined
    rig.verdict = () => new Promise((resolve) => (read = resolve))
    await rig.after(minute)
    let hasEnded = false
    const ending = rig.scrub.end().then(() => (hasEnded = true))
    await settle()
    expect(hasEnded).toBe(false)
    read('damaged')
    await ending
    expect([rig.clock.timers, rig.replaced, rig.failures]).toEqual([0, [], []])
  })
})
