import { mkdtemp, open, readFile, readdir, rm, truncate } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Entry } from '../../src/raft/entry.ts'
import { encodeEntries } from '../../src/storage/entry-record.ts'
import { LevelLogStore } from '../../src/storage/level-log-store.ts'
import { chainStart, entryKey, metaKey } from '../../src/storage/log-record.ts'
import type { LogStore, ScrubReport } from '../../src/storage/log-store.ts'
import { RecordLogStore } from '../../src/storage/record-log-store.ts'
import { ManualClock } from '../consensus/manual-clock.ts'
import { batch, entry, n1 } from '../fixtures/log-batches.ts'
import { MemoryRecords, MemorySlotFile } from '../fixtures/memory-records.ts'

type Round = { records: number; damages: NonNullable<ScrubReport['damage']>[] }

/** One round; what it asks for is rewritten at once. */
async function round(store: LogStore, log: readonly Entry[]): Promise<Round> {
  const found: Round = { records: 0, damages: [] }
  for (;;) {
    const { records, damage, isRoundDone } = await store.scrub()
    found.records += records
    if (damage !== null) found.damages.push(damage)
    const mend = damage?.mend ?? 'done'
    if (typeof mend === 'object')
      await store.rewrite(log.filter(({ index }) => index >= mend.first && index <= mend.last))
    if (isRoundDone) return found
  }
}

function entries(count: number, bytes = 10): Entry[] {
  return Array.from({ length: count }, (_, n) => entry(n + 1, 1, String(n).repeat(bytes)))
}

describe('the scrub of the records', () => {
  const log = entries(8)
  let records: MemoryRecords
  let store: RecordLogStore

  beforeEach(async () => {
    records = new MemoryRecords()
    const options = { where: 'memory', records, voteFile: new MemorySlotFile(), clock: new ManualClock() }
    store = new RecordLogStore(options)
    await store.open({ nodeId: n1 })
    await store.write(batch({ term: 1, entries: log }))
  })

  const nameOf = (key: Uint8Array): string => Buffer.from(key).toString('latin1')

  it('looks at every record in a round, and begins anew', async () => {
    for (const _ of [1, 2]) expect(await round(store, log)).toEqual({ records: 10, damages: [] })
  })

  it.each<[string, (name: string) => void]>([
    ['changed', (name) => records.rows.set(name, new Uint8Array(records.rows.get(name) ?? []).fill(1, 60))],
    ['lost', (name) => records.rows.delete(name)],
    [
      'another whole one',
      (name) => records.rows.set(name, encodeEntries([entry(5, 1, 'other')], chainStart)[0] ?? chainStart),
    ],
    ['that of another place', (name) => records.rows.set(name, records.rows.get(nameOf(entryKey(4))) ?? chainStart)],
  ])('finds an entry that is %s, and has it written once more', async (_what, harm) => {
    harm(nameOf(entryKey(5)))
    const { damages } = await round(store, log)
    expect(damages).toEqual([{ why: 'entry 5 is not what was written', mend: { first: 5, last: 5 } }])
    expect((await round(store, log)).damages).toEqual([])
  })

  it('finds every lost entry, the last one too', async () => {
    for (const index of [1, 2, 8]) records.rows.delete(nameOf(entryKey(index)))
    expect((await round(store, log)).damages.map(({ mend }) => mend)).toEqual(
      [1, 2, 8].map((at) => ({ first: at, last: at })),
    )
    expect((await round(store, log)).damages).toEqual([])
  })

  it('finds another record that is not what was written', async () => {
    records.rows.delete(nameOf(metaKey))
    expect((await round(store, log)).damages).toMatchObject([{ mend: { first: 1, last: 0 } }])
    expect((await round(store, log)).damages).toEqual([])
  })

  it('finds an entry behind the end, which only a start can deal with', async () => {
    records.rows.set(nameOf(entryKey(9)), encodeEntries([entry(9, 1)], chainStart)[0] ?? chainStart)
    expect((await round(store, log)).damages).toMatchObject([{ mend: 'restart' }])
  })

  it('refuses to write an entry that is not what was written before', async () => {
    await expect(store.rewrite([entry(5, 1, 'other')])).rejects.toThrow('entry 5 is not what was written before')
  })

  it('finds nothing wrong while entries are written, truncated and compacted', async () => {
    const write = async (): Promise<void> => {
      for (let index = 9; index < 200; index += 1) {
        const truncateFrom = index % 5 === 0 ? index - 1 : null
        const first = truncateFrom ?? index
        const made = Array.from({ length: index - first + 1 }, (_, n) => entry(first + n, index))
        await store.write(batch({ term: index, truncateFrom, entries: made }))
      }
    }
    const scrub = async (): Promise<Round[]> => {
      const rounds: Round[] = []
      while (rounds.length < 20) rounds.push(await round(store, log))
      return rounds
    }
    const [rounds] = await Promise.all([scrub(), write()])
    expect(rounds.flatMap(({ damages }) => damages)).toEqual([])
  })
})

describe('the scrub of the files', () => {
  const log = entries(400, 300)
  let dataDir: string
  let store: LevelLogStore

  beforeEach(async () => {
    dataDir = await mkdtemp(path.join(tmpdir(), 'quorate-scrub-'))
    const first = new LevelLogStore(dataDir)
    await first.open({ nodeId: n1 })
    await first.write(batch({ term: 1, entries: log.slice(0, 300) }))
    await first.close()
    store = new LevelLogStore(dataDir)
    await store.open({ nodeId: n1 })
    await store.write(batch({ term: 1, entries: log.slice(300) }))
  })
  afterEach(async () => {
    await store.close()
    await rm(dataDir, { recursive: true })
  })

  async function fileOf(ending: RegExp): Promise<string> {
    const name = (await readdir(path.join(dataDir, 'raft'))).find((each) => ending.test(each))
    return path.join(dataDir, 'raft', name ?? '')
  }

  async function flip(file: string, at: number): Promise<void> {
    const byte = (await readFile(file))[at] ?? 0
    const handle = await open(file, 'r+')
    await handle.write(Uint8Array.of(byte ^ 4), 0, 1, at)
    await handle.close()
  }

  /** Nothing is wrong any more, now nor at the next start. */
  async function expectMended(): Promise<void> {
    expect((await round(store, log)).damages).toEqual([])
    await store.close()
    store = new LevelLogStore(dataDir)
    const { damage, entries } = await store.open({ nodeId: n1 })
    expect([damage, entries.length]).toEqual([null, log.length])
  }

  it('finds nothing in sound files, all the time that they are written', async () => {
    for (const term of [2, 3, 4]) {
      expect((await round(store, log)).damages).toEqual([])
      await store.write(batch({ term }))
    }
    await expectMended()
  })

  it.each([10, 5000, 70_000])(
    'finds a flipped bit in the write-ahead log at byte %i, and mends it by a table',
    async (at) => {
      await flip(await fileOf(/\.log$/), at)
      const { damages } = await round(store, log)
      expect(damages).toMatchObject([
        { why: expect.stringMatching(/write-ahead log .* is damaged at byte/) as string, mend: 'done' },
      ])
      await expectMended()
    },
  )

  it('finds a write-ahead log that was cut', async () => {
    await round(store, log)
    await truncate(await fileOf(/\.log$/), 20_000)
    expect((await round(store, log)).damages).toMatchObject([{ mend: 'done' }])
    await expectMended()
  })

  it('finds that the write-ahead log is gone', async () => {
    await rm(await fileOf(/\.log$/))
    expect((await round(store, log)).damages).toMatchObject([{ why: 'the write-ahead log is missing', mend: 'done' }])
    await expectMended()
  })

  it.each([0.1, 0.5, 0.9])(
    'finds a flipped bit in a table, and has its entries written once more (at %f)',
    async (part) => {
      const file = await fileOf(/\.ldb$/)
      await flip(file, Math.floor((await readFile(file)).length * part))
      const { damages } = await round(store, log)
      expect(damages).toHaveLength(1)
      expect(damages[0]?.why).toMatch(/the table .*\.ldb is damaged: the checksum of its block at \d+/)
      await expectMended()
    },
  )

  it.each([/MANIFEST/, /CURRENT/])('finds that %s is damaged, which only a start can deal with', async (name) => {
    await flip(await fileOf(name), 3)
    expect((await round(store, log)).damages).toMatchObject([{ mend: 'restart' }])
  })

  it('finds and mends the vote file', async () => {
    await flip(path.join(dataDir, 'vote'), 30)
    await rm(path.join(dataDir, 'vote'))
    expect((await round(store, log)).damages).toMatchObject([{ mend: 'done' }])
    await expectMended()
  })
})
