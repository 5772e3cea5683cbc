import { cp, mkdir, mkdtemp, readFile, readdir, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Entry } from '../../src/raft/entry.ts'
import { LevelLogStore } from '../../src/storage/level-log-store.ts'
import type { LogBatch, QuarantinedLog, StoredNode } from '../../src/storage/log-store.ts'
import { slotBytes } from '../../src/storage/vote-record.ts'
import type { ClusterId } from '../../src/vocabulary/ids.ts'
import { batch, entry, n1, n2, snapshotOf } from '../fixtures/log-batches.ts'

describe('the quarantine of a log', () => {
  let dataDir: string
  const promise = { clusterId: 'c1' as ClusterId, voters: [n1, n2] }
  const open: LevelLogStore[] = []
  beforeEach(async () => {
    dataDir = await mkdtemp(path.join(tmpdir(), 'quorate-quarantine-'))
  })
  afterEach(async () => {
    for (const store of open.splice(0)) await store.close()
    await rm(dataDir, { recursive: true })
  })

  async function started(): Promise<StoredNode & { store: LevelLogStore }> {
    const store = new LevelLogStore(dataDir)
    open.push(store)
    return { ...(await store.open({ nodeId: null })), store }
  }

  async function stopped(store: LevelLogStore): Promise<void> {
    open.splice(open.indexOf(store), 1)
    await store.close()
  }

  /** A log of ten entries in term 3 with a vote, of which the last five are lost: the copy from before them is put back. */
  async function lostHalf(): Promise<void> {
    const store = new LevelLogStore(dataDir)
    await store.open({ nodeId: n1 })
    await store.writePromise(promise)
    await store.write(batch({ term: 2, commit: 5, entries: entries(1, 5) }))
    await store.close()
    await cp(path.join(dataDir, 'raft'), path.join(dataDir, 'kept'), { recursive: true })
    const second = new LevelLogStore(dataDir)
    await second.open({ nodeId: null })
    await second.write(batch({ term: 3, vote: n2, commit: 5, entries: entries(6, 10) }))
    await second.close()
    await rm(path.join(dataDir, 'raft'), { recursive: true })
    await rename(path.join(dataDir, 'kept'), path.join(dataDir, 'raft'))
  }

  function entries(first: number, last: number, term = 2): Entry[] {
    return Array.from({ length: last - first + 1 }, (_, n) => entry(first + n, term))
  }

  function begin(parts: Partial<QuarantinedLog> = {}): QuarantinedLog {
    const hardState = { term: 3, vote: n2, commit: 0, isRecovering: true }
    return { why: 'it was damaged', hardState, snapshot: null, entries: entries(1, 5), ...parts }
  }

  function recovering(parts: Parameters<typeof batch>[0]): LogBatch {
    const made = batch({ vote: n2, ...parts })
    return { ...made, hardState: { ...made.hardState, isRecovering: true } }
  }

  it('tells what the vote file knows that the log has lost', async () => {
    await lostHalf()
    const { damage, hardState, entries: sound, nodeId, promise: kept, generation } = await started()
    expect(damage?.why).toContain('the log has lost what was durable')
    expect(hardState).toEqual({ term: 3, vote: n2, commit: 0, isRecovering: false })
    expect([sound.length, nodeId, kept, generation]).toEqual([5, n1, promise, 2])
  })

  it('begins anew with what is sound, durably, and keeps what was there until it is well', async () => {
    await lostHalf()
    const first = await started()
    const begun = await first.store.quarantine(begin())
    expect(begun).toMatchObject({ generation: 3, promise, damage: null, entries: begin().entries })
    const quarantine = { why: 'it was damaged', lostUpTo: 10, verified: null }
    expect(begun.quarantine).toEqual(quarantine)
    await stopped(first.store)
    expect(await readdir(path.join(dataDir, 'damaged'))).toEqual(['3'])
    const second = await started()
    expect(second).toMatchObject({ ...begun, generation: 4, quarantine })
    await second.store.write(recovering({ term: 3, entries: entries(6, 9) }))
    expect(second.store.lastQuarantine).toEqual(quarantine)
    await second.store.write(recovering({ term: 3, entries: entries(10, 11) }))
    expect(second.store.lastQuarantine).toEqual({ ...quarantine, verified: true })
    await second.store.write(batch({ term: 3, vote: n2, commit: 11 }))
    await stopped(second.store)
    const third = await started()
    expect(third).toMatchObject({ hardState: { isRecovering: false }, quarantine: { verified: true } })
    expect(third.store.lastQuarantine).toEqual({ ...quarantine, verified: true })
    await stopped(third.store)
    const fourth = await started()
    expect([fourth.quarantine, fourth.store.lastQuarantine]).toEqual([null, null])
    expect(await readdir(dataDir)).toEqual(['raft', 'vote'])
  })

  it('says so when the log comes to be another one than was lost', async () => {
    await lostHalf()
    const { store } = await started()
    await store.quarantine(begin())
    await store.write(recovering({ term: 3, entries: [...entries(6, 8), ...entries(9, 12, 3)] }))
    expect(store.lastQuarantine?.verified).toBe(false)
    await store.write(recovering({ term: 3, truncateFrom: 9 }))
    expect(store.lastQuarantine?.verified).toBeNull()
    await store.write(recovering({ term: 3, entries: entries(9, 12) }))
    expect(store.lastQuarantine?.verified).toBe(true)
  })

  it.each([
    [
      'began with a snapshot that the log does not hold',
      begin({ entries: [], snapshot: snapshotOf(7, 2), hardState: { ...begin().hardState, commit: 7 } }),
      7,
    ],
    ['was replaced by a snapshot', begin(), 5],
  ])('does not tell when the log %s', async (what, from, last) => {
    await lostHalf()
    const { store } = await started()
    await store.quarantine(from)
    if (what.includes('replaced')) await store.write(recovering({ term: 3, commit: 8, install: snapshotOf(8, 2) }))
    const next = what.includes('replaced') ? 9 : last + 1
    await store.write(recovering({ term: 3, commit: next - 1, entries: entries(next, 12) }))
    expect(store.lastQuarantine).toMatchObject({ lostUpTo: 10, verified: null })
  })

  it('keeps the chain where the log goes on behind a snapshot of its own', async () => {
    await lostHalf()
    const { store } = await started()
    const hardState = { ...begin().hardState, commit: 4 }
    await store.quarantine(begin({ hardState, snapshot: snapshotOf(4, 2), entries: [] }))
    await store.write(recovering({ term: 3, commit: 4, entries: entries(5, 10) }))
    expect(store.lastQuarantine?.verified).toBe(true)
  })

  it('begins anew with nothing when nothing is left, and keeps who it is', async () => {
    await lostHalf()
    await rm(path.join(dataDir, 'raft'), { recursive: true })
    const first = await started()
    expect(first).toMatchObject({
      nodeId: n1,
      promise,
      entries: [],
      damage: { why: expect.stringContaining('the log is gone') as string },
    })
    await first.store.quarantine(begin({ entries: [] }))
    await stopped(first.store)
    expect(await started()).toMatchObject({
      damage: null,
      hardState: { term: 3, isRecovering: true },
      nodeId: n1,
      promise,
    })
  })

  it('refuses when nothing says who the node is any more', async () => {
    await lostHalf()
    await rm(path.join(dataDir, 'raft'), { recursive: true })
    await writeFile(path.join(dataDir, 'vote'), Buffer.alloc(slotBytes + 300, 'rubbish'))
    await expect(new LevelLogStore(dataDir).open({ nodeId: n1 })).rejects.toMatchObject({
      code: 'storage-failed',
      message: expect.stringContaining('neither log nor vote file says who it is') as string,
    })
  })

  it('takes for a first start what a power cut left of the first write of all', async () => {
    const store = new LevelLogStore(dataDir)
    await store.open({ nodeId: n1 })
    await store.close()
    const whole = await readFile(path.join(dataDir, 'vote'))
    for (const torn of [whole.subarray(0, 5), whole.subarray(0, 100), Buffer.alloc(300)]) {
      await rm(dataDir, { recursive: true })
      await mkdir(dataDir)
      await writeFile(path.join(dataDir, 'vote'), torn)
      const next = await started()
      expect(next).toMatchObject({ nodeId: expect.any(String) as string, generation: 1, damage: null })
      await stopped(next.store)
    }
  })

  it('takes for a first start what a power cut left of the making of the database', async () => {
    const raft = path.join(dataDir, 'raft')
    for (const files of [
      { 'MANIFEST-000001': '' },
      { CURRENT: 'MANIFEST-000001\n', 'MANIFEST-000001': '' },
      { CURRENT: 'MANIFEST-000001\n', 'MANIFEST-000001': '', '000003.log': '', 'MANIFEST-000002': '' },
    ]) {
      await mkdir(raft, { recursive: true })
      for (const [name, bytes] of Object.entries(files)) await writeFile(path.join(raft, name), bytes)
      const next = await started()
      expect(next).toMatchObject({ generation: 1, damage: null })
      await stopped(next.store)
      for (const made of ['raft', 'vote']) await rm(path.join(dataDir, made), { recursive: true })
    }
  })

  it('is no damage that a write-ahead log can not be read now, and nothing is lost by it', async () => {
    const first = await started()
    await first.store.write(batch({ term: 1, entries: entries(1, 3, 1) }))
    await stopped(first.store)
    const raft = path.join(dataDir, 'raft')
    const name = (await readdir(raft)).find((each) => each.endsWith('.log')) ?? ''
    const log = path.join(raft, name)
    await rename(log, path.join(dataDir, 'kept'))
    await symlink(name, log)
    await expect(new LevelLogStore(dataDir).open({ nodeId: null })).rejects.toMatchObject({ code: 'storage-failed' })
    await rename(path.join(dataDir, 'kept'), log)
    expect(await started()).toMatchObject({ damage: null, entries: entries(1, 3, 1) })
  })

  it('undoes what a crash left unfinished beside the log, and finishes what had begun to take its place', async () => {
    await lostHalf()
    const first = await started()
    await first.store.quarantine(begin())
    await stopped(first.store)
    const folder = (name: string): string => path.join(dataDir, name)
    await mkdir(folder('raft.new'))
    await writeFile(path.join(folder('raft.new'), 'CURRENT'), 'MANIFEST-0000')
    const second = await started()
    expect(second).toMatchObject({ damage: null, entries: begin().entries })
    await stopped(second.store)
    expect(await readdir(dataDir)).not.toContain('raft.new')
    await rename(folder('raft'), folder('raft.new'))
    const third = await started()
    expect(third).toMatchObject({ damage: null, entries: begin().entries })
  })

  it('keeps only what was set aside last', async () => {
    await lostHalf()
    const first = await started()
    await first.store.quarantine(begin())
    await stopped(first.store)
    await rm(path.join(dataDir, 'raft', 'CURRENT'))
    const second = await started()
    expect(second).toMatchObject({ damage: {}, hardState: { isRecovering: true }, quarantine: { lostUpTo: 10 } })
    // What the first one has lost is still lost.
    expect((await second.store.quarantine(begin())).quarantine).toMatchObject({ lostUpTo: 10 })
    expect(await readdir(path.join(dataDir, 'damaged'))).toEqual(['4'])
  })

  it.each([0, 1])('stays condemned when slot %i of the vote file is damaged as well', async (slot) => {
    const { store } = await started()
    await store.write(batch({ term: 1, entries: entries(1, 3, 1) }))
    await store.condemn('its state was another')
    await stopped(store)
    const vote = await readFile(path.join(dataDir, 'vote'))
    vote.fill(0, slot * slotBytes, slot * slotBytes + 100)
    await writeFile(path.join(dataDir, 'vote'), vote)
    expect((await started()).damage).toEqual({ why: 'its state was another', condemned: true })
  })

  it('trusts nothing of a node that was condemned, until it has begun anew', async () => {
    const first = await started()
    await first.store.write(batch({ term: 1, entries: entries(1, 3, 1) }))
    await first.store.condemn("its state was another than the cluster's")
    await first.store.write(batch({ term: 1, entries: entries(4, 4, 1) }))
    await stopped(first.store)
    const second = await started()
    expect(second.damage).toEqual({ why: "its state was another than the cluster's", condemned: true })
    await second.store.quarantine(begin({ entries: [] }))
    await stopped(second.store)
    expect(await started()).toMatchObject({ damage: null, hardState: { isRecovering: true }, entries: [] })
  })
})
