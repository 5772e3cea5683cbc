import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdir, mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { Level } from 'level'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { LevelLogStore } from '../../src/storage/level-log-store.ts'
import { crc32 } from '../../src/std/hash.ts'
import { encodeEntries } from '../../src/storage/entry-record.ts'
import {
  chainStart,
  encodeHead,
  encodeSnapshotMeta,
  entryKey,
  headKey,
  metaKey,
  snapshotKey,
} from '../../src/storage/log-record.ts'
import type { LogDamage, StoredNode } from '../../src/storage/log-store.ts'
import { OperatingError, describeError } from '../../src/vocabulary/operating-error.ts'
import type { Entry } from '../../src/raft/entry.ts'
import { batch, entry, n1, snapshotOf } from '../fixtures/log-batches.ts'

const storeProcess = path.resolve(import.meta.dirname, '../fixtures/log-store-process.ts')

describe('LevelLogStore', () => {
  let dataDir: string
  beforeEach(async () => {
    dataDir = await mkdtemp(path.join(tmpdir(), 'quorate-log-'))
  })
  afterEach(() => rm(dataDir, { recursive: true }))

  it('begins a new data directory with the generation that it is told, and counts on from there', async () => {
    const generationOf = async (firstGeneration?: number): Promise<number> => {
      const store = new LevelLogStore(dataDir, firstGeneration === undefined ? {} : { firstGeneration })
      const { generation } = await store.open({ nodeId: n1 })
      await store.close()
      return generation
    }
    expect(await generationOf(1000)).toBe(1000)
    expect(await generationOf(5000)).toBe(1001)
    expect(await generationOf(7)).toBe(1002)
    await rm(path.join(dataDir, 'raft'), { recursive: true })
    await rm(path.join(dataDir, 'vote'))
    expect(await generationOf()).toBe(1)
    await rm(dataDir, { recursive: true })
    expect([await generationOf(-5), await generationOf(0)]).toEqual([1, 2])
  })

  /** A closed log of five entries: terms 1, 1, 2, 2, 2, of which three are committed. */
  async function writeLog(): Promise<void> {
    const store = new LevelLogStore(dataDir)
    await store.open({ nodeId: n1 })
    await store.write(batch({ term: 1, entries: [entry(1, 1), entry(2, 1)] }))
    await store.write(batch({ term: 2, entries: [entry(3, 2), entry(4, 2)] }))
    await store.write(batch({ term: 2, commit: 3, entries: [entry(5, 2)] }))
    await store.close()
  }

  async function withDatabase(change: (db: Level<Uint8Array, Uint8Array>) => Promise<void>): Promise<void> {
    const db = new Level<Uint8Array, Uint8Array>(path.join(dataDir, 'raft'), {
      keyEncoding: 'view',
      valueEncoding: 'view',
      compression: false,
    })
    await db.open()
    await change(db)
    await db.close()
  }

  async function everyRow(): Promise<string[]> {
    const rows: string[] = []
    await withDatabase(async (db) => {
      for await (const [key, value] of db.iterator())
        rows.push(`${Buffer.from(key).toString('hex')} ${Buffer.from(value).toString('hex')}`)
    })
    return rows
  }

  async function opened(): Promise<StoredNode> {
    const store = new LevelLogStore(dataDir)
    try {
      return await store.open({ nodeId: n1 })
    } finally {
      await store.close()
    }
  }

  async function openDamage(): Promise<LogDamage & { sound: number }> {
    const { damage, entries } = await opened()
    if (damage === null) throw new Error('no damage is told')
    return { ...damage, sound: entries.length }
  }

  async function openError(): Promise<OperatingError> {
    const store = new LevelLogStore(dataDir)
    const error: unknown = await store.open({ nodeId: n1 }).then(
      () => undefined,
      (reason: unknown) => reason,
    )
    await store.close()
    if (!(error instanceof OperatingError)) throw new Error(`open ended with ${String(error)}`)
    return error
  }

  function flip(bytes: Uint8Array | undefined, at: number): Uint8Array {
    const changed = new Uint8Array(bytes ?? [])
    changed[at] = (changed[at] ?? 0) ^ 0x10
    return changed
  }

  function bytesOf(written: Entry): Uint8Array {
    return encodeEntries([written], chainStart)[0] ?? chainStart
  }

  type Change = (db: Level<Uint8Array, Uint8Array>) => Promise<void>
  /** What, how it is told, how many entries before it are sound, and how it comes. */
  const damages: [string, RegExp, number, Change][] = [
    [
      'a flipped bit in an entry',
      /entry 3 is damaged: its checksum/,
      2,
      async (db) => db.put(entryKey(3), flip(await db.get(entryKey(3)), 60)),
    ],
    [
      'a cut entry',
      /entry 4 is damaged/,
      3,
      async (db) => db.put(entryKey(4), (await db.get(entryKey(4)))?.subarray(0, 20) ?? chainStart),
    ],
    [
      'a missing entry in the middle',
      /entry 3 is damaged: it is missing; the next one is 4/,
      2,
      (db) => db.del(entryKey(3)),
    ],
    ['a missing first entry', /entry 1 is damaged: it is missing; the next one is 2/, 0, (db) => db.del(entryKey(1))],
    ['a missing last entry', /entry 5 is damaged: it is missing; the log must reach 5/, 4, (db) => db.del(entryKey(5))],
    [
      'an entry behind the end',
      /entry 6 is damaged: it stands behind the end .* \(5\)/,
      5,
      (db) => db.put(entryKey(6), bytesOf(entry(6, 2))),
    ],
    [
      'an entry in another place',
      /entry 4 is damaged: entry 3 stands there/,
      3,
      async (db) => db.put(entryKey(4), (await db.get(entryKey(3))) ?? chainStart),
    ],
    [
      'a whole entry that was not written after the one before it',
      /entry 3 is damaged: the hash chain breaks there/,
      2,
      (db) => db.put(entryKey(3), bytesOf(entry(3, 2, 'another history'))),
    ],
    [
      'a last entry from another history',
      /entry 5 is damaged: the hash chain breaks there|hash chain does not end/,
      4,
      (db) => db.put(entryKey(5), bytesOf(entry(5, 2, 'another'))),
    ],
    [
      'a changed head',
      /the head record is damaged: its checksum/,
      0,
      async (db) => db.put(headKey, flip(await db.get(headKey), 20)),
    ],
    ['a missing head', /the head record is damaged: it is missing/, 0, (db) => db.del(headKey)],
    ['a missing meta record', /the meta record is damaged: it is missing/, 5, (db) => db.del(metaKey)],
    [
      'a changed meta record',
      /the meta record is damaged/,
      5,
      async (db) => db.put(metaKey, flip(await db.get(metaKey), 12)),
    ],
    [
      'an older head than the entries',
      /entry 4 is damaged: it stands behind the end/,
      3,
      (db) => db.put(headKey, headBytes({ lastIndex: 3, commit: 3 })),
    ],
    [
      'a head with another end of the chain',
      /entry 5 is damaged: the hash chain does not end at the hash of the head/,
      5,
      (db) => db.put(headKey, headBytes({ lastIndex: 5, commit: 3 })),
    ],
  ]

  function headBytes(options: { lastIndex: number; commit: number }): Uint8Array {
    return encodeHead({
      seq: 9,
      hardState: { term: 2, vote: null, commit: options.commit, isRecovering: false },
      firstIndex: 1,
      lastIndex: options.lastIndex,
      snapshotIndex: 0,
      anchor: chainStart,
      lastHash: chainStart,
    })
  }

  it.each(damages)(
    'tells %s, keeps what stands before it, and changes nothing',
    async (_what, message, sound, change) => {
      await writeLog()
      await withDatabase(change)
      const before = await everyRow()
      const damage = await openDamage()
      expect(damage.why).toMatch(message)
      expect(damage).toMatchObject({ sound, condemned: false })
      expect(await everyRow()).toEqual(before)
    },
  )

  /** Entries 1 to 2500 with the first 1999 compacted away. */
  async function compactedLog(): Promise<LevelLogStore> {
    const store = new LevelLogStore(dataDir)
    await store.open({ nodeId: n1 })
    const entries = Array.from({ length: 2500 }, (_, at) => entry(at + 1, 1))
    await store.write(batch({ term: 1, commit: 2400, entries }))
    await store.write(batch({ term: 1, commit: 2400, compact: { firstIndex: 2000, snapshot: snapshotOf(2300, 1) } }))
    return store
  }

  async function entryKeys(): Promise<number> {
    return (await everyRow()).filter((row) => row.startsWith('02')).length
  }

  it('deletes what was compacted in the background, and at the next start what it did not come to', async () => {
    const first = await compactedLog()
    await first.close()
    const left = await entryKeys()
    expect(left).toBeGreaterThanOrEqual(501)
    for (let deleted = false; !deleted; deleted = (await entryKeys()) === 501) {
      const again = new LevelLogStore(dataDir)
      const { entries } = await again.open({ nodeId: n1 })
      expect(entries).toHaveLength(501)
      await again.write(batch({ term: 1, commit: 2400 }))
      await again.close()
    }
  })

  it.each<[string, RegExp, Change]>([
    ['a missing snapshot record', /the snapshot record is damaged: it is missing/, (db) => db.del(snapshotKey)],
    [
      'a changed snapshot record',
      /the snapshot record is damaged: its checksum/,
      async (db) => db.put(snapshotKey, flip(await db.get(snapshotKey), 20)),
    ],
    [
      'a snapshot that does not reach the log',
      /the snapshot record is damaged: it does not fit a log of 2000 to 2500/,
      (db) => db.put(snapshotKey, encodeSnapshotMeta(snapshotOf(1998, 1))),
    ],
    [
      'a snapshot of another history',
      /the snapshot record is damaged: it does not fit/,
      (db) => db.put(snapshotKey, encodeSnapshotMeta(snapshotOf(2300, 2))),
    ],
    [
      'a first entry of another history',
      /entry 2000 is damaged: the hash chain breaks there/,
      (db) => db.put(entryKey(2000), bytesOf(entry(2000, 1, 'another'))),
    ],
    [
      'a missing first entry',
      /entry 2000 is damaged: it is missing; the next one is 2001/,
      (db) => db.del(entryKey(2000)),
    ],
  ])('tells %s in a compacted log', async (_what, message, change) => {
    await (await compactedLog()).close()
    await withDatabase(change)
    expect((await openDamage()).why).toMatch(message)
  })

  it('tells a commit index behind the end of the log', async () => {
    await opened()
    await withDatabase((db) => db.put(headKey, headBytes({ lastIndex: 0, commit: 4 })))
    expect((await openDamage()).why).toMatch(/the head record is damaged: it says that 4 is committed/)
  })

  it.each([
    ['meta', metaKey],
    ['head', headKey],
    ['entry', entryKey(2)],
  ])('refuses a record of a later format (%s) and says so', async (_what, key) => {
    await writeLog()
    await withDatabase(async (db) => {
      const bytes = new Uint8Array((await db.get(key)) ?? [])
      bytes.set([4, 4 ^ 0xff])
      await db.put(key, bytes)
    })
    const error = await openError()
    expect(error.code).toBe('storage-failed')
    expect(error.message).toMatch(/another version wrote .* format 4; .* start the node with that version/)
  })

  it('refuses a directory of an earlier format and says so', async () => {
    await writeLog()
    const json = new TextEncoder().encode('{"nodeId":"n1"}')
    await withDatabase((db) => db.put(metaKey, Buffer.concat([Buffer.of(2, 0, 0, 0), uint32(crc32(json)), json])))
    expect((await openError()).message).toMatch(/another version wrote the meta record: it has format 2/)
  })

  function uint32(value: number): Buffer {
    const bytes = Buffer.alloc(4)
    bytes.writeUInt32BE(value)
    return bytes
  }

  it('makes a data directory for its owner alone, and leaves one that is there as open as it is', async () => {
    await chmod(dataDir, 0o750)
    const made = path.join(dataDir, 'made')
    for (const at of [dataDir, made]) {
      const store = new LevelLogStore(at)
      await store.open({ nodeId: n1 })
      await store.close()
    }
    const modes = await Promise.all([dataDir, made].map(async (at) => (await stat(at)).mode & 0o777))
    expect(modes).toEqual([0o750, 0o700])
  })

  it('answers a data directory that can not be made with what it must be', async () => {
    await writeFile(path.join(dataDir, 'file'), '')
    dataDir = path.join(dataDir, 'file')
    const error = await openError()
    expect(error).toMatchObject({ code: 'storage-failed', message: expect.stringContaining(dataDir) as string })
    expect(error.message).toContain('a folder that this user can write')
    dataDir = path.dirname(dataDir)
  })

  it('does not take for damage that another process is writing the files, nor a disk that fails', async () => {
    await writeLog()
    const holder = new LevelLogStore(dataDir)
    await holder.open({ nodeId: n1 })
    await rm(path.join(dataDir, 'raft', 'CURRENT'))
    expect(await openError()).toMatchObject({ code: 'locked' })
    await holder.close()
    await writeFile(path.join(dataDir, 'raft', 'CURRENT'), '')
    expect((await openDamage()).why).toContain('CURRENT')
    await rm(path.join(dataDir, 'raft', 'CURRENT'))
    await mkdir(path.join(dataDir, 'raft', 'CURRENT'))
    expect(await openError()).toMatchObject({ code: 'storage-failed', cause: { code: 'EISDIR' } })
  })

  it('says how to go on when another process holds the data directory', async () => {
    const other = startStoreProcess(`exec "$0" "$@"`, [dataDir, 'hold'])
    try {
      await other.line('open')
      const error = await openError()
      expect(error.code).toBe('locked')
      expect(error.message).toBe(
        `another process holds the data directory ${dataDir}: stop it, or give this node its own node.dataDir`,
      )
    } finally {
      await other.end()
    }
    const store = new LevelLogStore(dataDir)
    expect(await store.open({ nodeId: null })).toMatchObject({ generation: 2 })
    await store.close()
  })

  it('is dead after a write that the disk refused, and what was written before opens again', async () => {
    // The limit on file sizes makes the kernel refuse a write as a full disk does.
    const full = startStoreProcess(`ulimit -f 1024; exec "$0" "$@"`, [dataDir, 'fill'])
    let written: string
    try {
      written = await full.line('written')
      expect(await full.line('failed')).toMatch(/^failed storage-failed make room or replace the disk/)
      expect(await full.line('after')).toMatch(/^after storage-failed/)
    } finally {
      await full.end()
    }
    const store = new LevelLogStore(dataDir)
    const { entries } = await store.open({ nodeId: null })
    expect(entries.length).toBeGreaterThan(0)
    expect(`written ${entries.length}`).toBe(written)
    await store.close()
  })

  it('syncs folders that did not exist before', async () => {
    dataDir = path.join(dataDir, 'a', 'b')
    await mkdir(path.dirname(dataDir), { recursive: true })
    await writeLog()
    const store = new LevelLogStore(dataDir)
    expect((await store.open({ nodeId: n1 })).entries).toHaveLength(5)
    await store.close()
    dataDir = path.dirname(path.dirname(dataDir))
  })

  it('replaces the suffix of a log whose kept entry must be read back', async () => {
    await writeLog()
    const first = new LevelLogStore(dataDir)
    await first.open({ nodeId: n1 })
    await first.write(batch({ term: 3, commit: 3, truncateFrom: 4, entries: [entry(4, 3)] }))
    await first.close()
    const second = new LevelLogStore(dataDir)
    const { entries } = await second.open({ nodeId: n1 })
    expect(entries.map(({ term }) => term)).toEqual([1, 1, 2, 3])
    await second.close()
  })
})

type StoreProcess = { line(beginning: string): Promise<string>; end(): Promise<void> }

/** A second, real process with a store; `sh` is its wrapper, `exec`ed away. */
function startStoreProcess(sh: string, args: string[]): StoreProcess {
  const child = spawn('sh', ['-c', sh, process.execPath, '--import', 'tsx', storeProcess, ...args], {
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  let said = ''
  child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()))
  return {
    async line(beginning) {
      for (;;) {
        const next = await lines.next()
        if (next.done === true) throw new Error(`the process ended before "${beginning}": ${describeError(said)}`)
        if (next.value.startsWith(beginning)) return next.value
      }
    },
    async end() {
      if (child.exitCode !== null) return
      const exit = once(child, 'exit')
      child.stdin.end()
      await exit
    },
  }
}
