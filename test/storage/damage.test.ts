import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdtemp, open, readdir, rm, stat, truncate } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Entry, HardState } from '../../src/raft/entry.ts'
import { Random } from '../../src/std/random.ts'
import { LevelLogStore } from '../../src/storage/level-log-store.ts'
import type { StoredNode } from '../../src/storage/log-store.ts'
import { slotBytes } from '../../src/storage/vote-record.ts'
import { SnapshotFileStore } from '../../src/storage/snapshot-file-store.ts'
import type { ClusterId } from '../../src/vocabulary/ids.ts'
import { batch, entry, n1, n2, snapshotOf } from '../fixtures/log-batches.ts'

const promise = { clusterId: 'c1' as ClusterId, voters: [n1, n2] }
const snapshot = snapshotOf(700, 3)
const snapshotBytes = new Uint8Array(20_000).fill(7)
const logFile = /^\d+\.log$/

/** What was durable when the files were last written. */
type Truth = { readonly hardState: HardState; readonly entries: readonly Entry[] }

/**
 * A log of several hundred synced batches over four starts, so that some of it stands in tables of several levels, some in
 * the write-ahead log; with a truncation, a compaction and the vote of a later term.
 */
async function writeLog(dataDir: string): Promise<Truth> {
  const written: Entry[] = []
  const random = new Random(5)
  const add = (term: number, count: number): Entry[] =>
    Array.from({ length: count }, () => {
      const made = entry(written.length + 1, term, `${written.length} `.repeat(random.below(800)))
      written.push(made)
      return made
    })
  for (const term of [1, 2, 3, 4]) {
    const store = new LevelLogStore(dataDir)
    await store.open({ nodeId: n1 })
    if (term === 1) await store.writePromise(promise)
    for (let at = 0; at < 100; at += 1) {
      const commit = written.length
      await store.write(batch({ term, vote: n1, commit, entries: add(term, 1 + (at % 5)) }))
    }
    if (term === 2) {
      written.length -= 3
      const [truncateFrom, commit] = [written.length + 1, written.length - 2]
      await store.write(batch({ term: 3, vote: n1, commit, truncateFrom, entries: add(3, 2) }))
    }
    if (term === 3) {
      const snapshots = new SnapshotFileStore(dataDir)
      await snapshots.open()
      await snapshots.write(snapshot, snapshotBytes)
      await snapshots.close()
      const commit = written.length
      await store.write(batch({ term: 3, vote: n1, commit, compact: { firstIndex: 300, snapshot } }))
    }
    await store.close()
  }
  return {
    hardState: { term: 4, vote: n1, commit: written.length - 5, isRecovering: false },
    entries: written.slice(299),
  }
}

/** Starts on it and holds what is found against what was durable; the kind of outcome. */
async function checkedStart(dataDir: string, truth: Truth): Promise<'sound' | 'damage'> {
  const store = new LevelLogStore(dataDir)
  try {
    const stored = await store.open({ nodeId: null })
    expect(stored).toMatchObject({ nodeId: n1, promise, joined: null })
    if (stored.damage === null) expectWhole(stored, truth)
    else await expectTold(store, stored, truth)
    return stored.damage === null ? 'sound' : 'damage'
  } finally {
    await store.close()
  }
}

function expectWhole({ hardState, snapshot: found, entries }: StoredNode, truth: Truth): void {
  expect(hardState).toEqual(truth.hardState)
  expect(found).toEqual(snapshot)
  expectSame(entries, truth.entries)
}

async function expectTold(store: LevelLogStore, stored: StoredNode, truth: Truth): Promise<void> {
  expect(stored.damage?.why).toMatch(/.../)
  expect(stored.hardState).toMatchObject({ term: truth.hardState.term, isRecovering: false })
  expect([null, n1]).toContain(stored.hardState.vote)
  expectSame(stored.entries, truth.entries.slice(0, stored.entries.length))
  await repair(store, stored)
}

function expectSame(found: readonly Entry[], expected: readonly Entry[]): void {
  expect(found.length).toBe(expected.length)
  const at = found.findIndex((each, n) => !isSameEntry(each, expected[n]))
  if (at >= 0) expect(found[at]).toEqual(expected[at])
}

function isSameEntry(a: Entry, b: Entry | undefined): boolean {
  const isSame = b !== undefined && a.index === b.index && a.term === b.term && a.kind === b.kind
  return isSame && a.id === b.id && a.time === b.time && Buffer.compare(a.data, b.data) === 0
}

/** As a node does that is damaged: it begins anew with what is sound, and starts well after that. */
async function repair(store: LevelLogStore, stored: StoredNode): Promise<void> {
  const reaches = stored.entries.length > 0 && (stored.entries.at(-1)?.index ?? 0) >= snapshot.index
  const begin = {
    why: stored.damage?.why ?? '',
    hardState: { ...stored.hardState, commit: snapshot.index, isRecovering: true },
    snapshot,
    entries: reaches ? stored.entries : [],
  }
  const begun = await store.quarantine(begin)
  expect(begun).toMatchObject({
    damage: null,
    generation: expect.any(Number) as number,
    quarantine: { why: begin.why },
  })
  const { term, vote } = begin.hardState
  const next = entry((begin.entries.at(-1)?.index ?? snapshot.index) + 1, term)
  await store.write({
    ...batch({ term, vote, commit: next.index, entries: [next] }),
    hardState: { ...begin.hardState },
  })
}

type Harm = { readonly what: string; readonly file: string; readonly harm: (file: string) => Promise<void> }

/** For each file of the folder some places where a bit is flipped, a page zeroed, the tail cut, and that it is gone. */
async function harms(dataDir: string, places: number): Promise<Harm[]> {
  const random = new Random(11)
  const names = (await readdir(dataDir, { recursive: true })).sort()
  const found: Harm[] = []
  for (const name of names) {
    const stats = await stat(path.join(dataDir, name))
    // LevelDB's own notes and its lock tell nothing of what was written.
    if (!stats.isFile() || /LOG|LOCK/.test(name)) continue
    found.push({ what: 'gone', file: name, harm: (file) => rm(file) })
    for (let n = 0; n < places; n += 1) {
      // Most of a slot of the vote file is never written.
      const at = random.below(name === 'vote' ? 200 : stats.size) + (name === 'vote' ? random.below(2) * slotBytes : 0)
      const bit = 1 << random.below(8)
      found.push({
        what: `bit ${bit} of byte ${at} flipped`,
        file: name,
        harm: (file) => change(file, at, 1, (old) => old ^ bit),
      })
      found.push({ what: `cut at ${at}`, file: name, harm: (file) => truncate(file, at) })
      const page = at - (at % 4096)
      found.push({ what: `page at ${page} zeroed`, file: name, harm: (file) => change(file, page, 4096, () => 0) })
    }
  }
  return found
}

async function change(file: string, at: number, length: number, to: (old: number) => number): Promise<void> {
  const handle = await open(file, 'r+')
  try {
    const bytes = new Uint8Array(Math.min(length, (await handle.stat()).size - at))
    await handle.read(bytes, 0, bytes.length, at)
    await handle.write(bytes.map(to), 0, bytes.length, at)
  } finally {
    await handle.close()
  }
}

describe('a damaged data directory', () => {
  let root: string
  let whole: string
  let truth: Truth
  let copies = 0

  beforeAll(async () => {
    root = await mkdtemp(path.join(tmpdir(), 'quorate-damage-'))
    whole = path.join(root, 'whole')
    truth = await writeLog(whole)
  })
  afterAll(() => rm(root, { recursive: true }))

  async function copyOf(folder: string): Promise<string> {
    const copy = path.join(root, `copy-${copies++}`)
    await cp(folder, copy, { recursive: true })
    return copy
  }

  it('is sound before', async () => {
    const names = await readdir(path.join(whole, 'raft'))
    expect(names.filter((name) => name.endsWith('.ldb')).length).toBeGreaterThan(1)
    expect((await stat(path.join(whole, 'raft', names.find((name) => logFile.test(name)) ?? ''))).size).toBeGreaterThan(
      100_000,
    )
    expect(await checkedStart(await copyOf(whole), truth)).toBe('sound')
  })

  it('never starts without an entry that was durable and does not tell, whatever byte of whatever file', async () => {
    const outcomes = { sound: 0, damage: 0 }
    for (const { what, file, harm } of await harms(whole, 3)) {
      if (file.startsWith('snapshots')) continue
      const copy = await copyOf(whole)
      await harm(path.join(copy, file))
      try {
        outcomes[await checkedStart(copy, truth)] += 1
        expect(await again(copy)).toBeNull()
      } catch (cause) {
        throw new Error(`${file}: ${what}`, { cause })
      }
      await rm(copy, { recursive: true })
    }
    // Only one slot of the vote file may be harmed unseen: the other one holds.
    expect(outcomes.sound).toBeLessThanOrEqual(9)
    expect(outcomes.damage).toBeGreaterThan(45)
  }, 120_000)

  it('tells the log that an older copy of it took the place of', async () => {
    const older = await copyOf(whole)
    const copy = await copyOf(whole)
    const store = new LevelLogStore(copy)
    await store.open({ nodeId: null })
    await store.close()
    await rm(path.join(copy, 'raft'), { recursive: true })
    await cp(path.join(older, 'raft'), path.join(copy, 'raft'), { recursive: true })
    expect(await checkedStart(copy, truth)).toBe('damage')
  })

  it('never takes for damage that what was not synced is gone, wherever it was cut', async () => {
    const copy = await copyOf(whole)
    const store = new LevelLogStore(copy)
    await store.open({ nodeId: null })
    const { hardState } = truth
    const next = [1, 2, 3].map((n) => entry((truth.entries.at(-1)?.index ?? 0) + n, 4, 'x'.repeat(300)))
    await store.write(batch({ ...hardState, entries: next }))
    const log = path.join('raft', (await readdir(path.join(copy, 'raft'))).find((name) => logFile.test(name)) ?? '')
    const synced = (await stat(path.join(copy, log))).size
    for (const commit of [1, 2, 3])
      await store.write(batch({ ...hardState, commit: hardState.commit + commit, sync: false }))
    const size = (await stat(path.join(copy, log))).size
    expect(size).toBeGreaterThan(synced + 200)
    const image = await copyOf(copy)
    await store.close()
    for (let at = synced; at <= size; at += 1 + Math.floor((size - synced) / 20)) {
      const cut = await copyOf(image)
      await truncate(path.join(cut, log), at)
      const cutStore = new LevelLogStore(cut)
      const { damage, entries } = await cutStore.open({ nodeId: null })
      expect([damage, entries.length]).toEqual([null, truth.entries.length + 3])
      await cutStore.close()
      await rm(cut, { recursive: true })
    }
  })

  it('never takes for damage that the process was killed, and has what it said to be durable', async () => {
    const at = path.join(root, 'killed')
    let last = 0
    for (let life = 1; life <= 6; life += 1) {
      const said = await lifeOf(at, 20 + life * 17)
      const store = new LevelLogStore(at)
      const { damage, entries, hardState } = await store.open({ nodeId: null })
      await store.close()
      expect(damage).toBeNull()
      expect(said.index).toBeGreaterThan(last)
      last = entries.at(-1)?.index ?? 0
      expect(last).toBeGreaterThanOrEqual(said.index)
      expect(hardState.term).toBeGreaterThanOrEqual(said.term)
    }
  }, 60_000)

  /** The damage of one more start. */
  async function again(dataDir: string): Promise<StoredNode['damage']> {
    const store = new LevelLogStore(dataDir)
    const { damage } = await store.open({ nodeId: null })
    await store.close()
    return damage
  }
})

/** A process writes until it has said to have written so many batches, and is killed there; what it said last. */
async function lifeOf(dataDir: string, batches: number): Promise<{ index: number; term: number }> {
  const program = path.resolve(import.meta.dirname, '../fixtures/log-store-process.ts')
  const child = spawn(process.execPath, ['--import', 'tsx', program, dataDir, 'write'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const exit = once(child, 'exit')
  let said = { index: 0, term: 0 }
  let lines = 0
  for await (const line of createInterface({ input: child.stdout })) {
    const [, index, term] = /^durable (\d+) (\d+)$/.exec(line) ?? []
    if (index === undefined) continue
    said = { index: Number(index), term: Number(term) }
    lines += 1
    if (lines === batches) child.kill('SIGKILL')
  }
  await exit
  return said
}
