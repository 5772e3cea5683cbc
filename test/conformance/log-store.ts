import { afterEach, describe, expect, it } from 'vitest'
import { InvariantError } from '../../src/std/assert.ts'
import type { Entry } from '../../src/raft/entry.ts'
import type { LogBatch, LogStore, StoredNode } from '../../src/storage/log-store.ts'
import type { ClusterId, ProposalId } from '../../src/vocabulary/ids.ts'
import { batch, entry, n1, n2, snapshotOf } from '../fixtures/log-batches.ts'

/** A place that outlives its stores; `newStore` makes one over it, as a restart does. */
export type LogStorePlace = { newStore(): LogStore; remove(): Promise<void> }

/** What every log store keeps. */
export function logStoreConformance(name: string, makePlace: () => Promise<LogStorePlace>): void {
  describe(`the log store ${name}`, () => {
    const undo: (() => Promise<void>)[] = []
    afterEach(async () => {
      for (const step of undo.splice(0).toReversed()) await step()
    })

    async function place(): Promise<LogStorePlace> {
      const made = await makePlace()
      undo.push(() => made.remove())
      return made
    }

    function storeIn(at: LogStorePlace): LogStore {
      const store = at.newStore()
      undo.push(() => store.close())
      return store
    }

    async function openStore(at?: LogStorePlace): Promise<LogStore> {
      const store = storeIn(at ?? (await place()))
      await store.open({ nodeId: n1 })
      return store
    }

    async function reopened(
      at: LogStorePlace,
      store: LogStore,
    ): Promise<Pick<StoredNode, 'hardState' | 'snapshot' | 'entries'>> {
      await store.close()
      const { hardState, snapshot, entries } = await storeIn(at).open({ nodeId: null })
      return { hardState, snapshot, entries }
    }

    /** Entries 1 to `last` of term 1, of which `commit` are committed. */
    async function filled(at: LogStorePlace, last: number, commit: number): Promise<LogStore> {
      const store = await openStore(at)
      const entries = Array.from({ length: last }, (_, n) => entry(n + 1, 1))
      await store.write(batch({ term: 1, commit, entries }))
      return store
    }

    it('opens empty the first time, with the given id and generation 1', async () => {
      const store = storeIn(await place())
      expect(await store.open({ nodeId: n1 })).toEqual({
        nodeId: 'n1',
        generation: 1,
        promise: null,
        joined: null,
        hardState: { term: 0, vote: null, commit: 0, isRecovering: false },
        snapshot: null,
        entries: [],
        damage: null,
        quarantine: null,
      })
    })

    it('makes an id when none is given, and keeps it', async () => {
      const at = await place()
      const first = storeIn(at)
      const { nodeId } = await first.open({ nodeId: null })
      expect(nodeId).toMatch(/^node-[0-9a-f]{8}$/)
      await first.close()
      expect(await storeIn(at).open({ nodeId: null })).toMatchObject({ nodeId, generation: 2 })
    })

    it('refuses another id than the stored one, naming both', async () => {
      const at = await place()
      const first = await openStore(at)
      await first.close()
      await expect(storeIn(at).open({ nodeId: n2 })).rejects.toMatchObject({
        code: 'bad-config',
        message: expect.stringMatching(/n1.*n2/) as string,
      })
      expect(await storeIn(at).open({ nodeId: n1 })).toMatchObject({ nodeId: 'n1' })
    })

    it('returns what was written, byte for byte', async () => {
      const at = await place()
      const store = await openStore(at)
      const odd: Entry = { index: 2, term: 3, kind: 'noop', id: '' as ProposalId, time: 0, data: new Uint8Array(0) }
      const large: Entry = { ...entry(3, 3), kind: 'configuration', data: new Uint8Array(300_000).fill(0xa5) }
      await store.write(batch({ term: 3, vote: n2, entries: [entry(1, 1), odd] }))
      await store.write(batch({ term: 3, vote: n2, commit: 2, entries: [large] }))
      expect(await reopened(at, store)).toEqual({
        hardState: { term: 3, vote: 'n2', commit: 2, isRecovering: false },
        snapshot: null,
        entries: [entry(1, 1), odd, large],
      })
    })

    it('replaces a truncated suffix by the new entries in the same batch', async () => {
      const at = await place()
      const store = await openStore(at)
      await store.write(batch({ term: 1, entries: [1, 2, 3, 4, 5].map((index) => entry(index, 1)) }))
      await store.write(batch({ term: 2, truncateFrom: 3, entries: [entry(3, 2)] }))
      await store.write(batch({ term: 2, entries: [entry(4, 2)] }))
      const { entries } = await reopened(at, store)
      expect(entries.map(({ index, term }) => [index, term])).toEqual([
        [1, 1],
        [2, 1],
        [3, 2],
        [4, 2],
      ])
    })

    it('truncates to nothing and begins again', async () => {
      const at = await place()
      const store = await openStore(at)
      await store.write(batch({ term: 1, entries: [entry(1, 1), entry(2, 1)] }))
      await store.write(batch({ term: 2, truncateFrom: 1 }))
      await store.write(batch({ term: 2, entries: [entry(1, 2)] }))
      expect((await reopened(at, store)).entries).toEqual([entry(1, 2)])
    })

    it('keeps a hard state without entries', async () => {
      const at = await place()
      const store = await openStore(at)
      await store.write(batch({ term: 7, vote: n2 }))
      const hardState = { term: 7, vote: 'n2', commit: 0, isRecovering: false }
      expect(await reopened(at, store)).toEqual({ hardState, snapshot: null, entries: [] })
    })

    it('keeps a promise and refuses a second, different one', async () => {
      const at = await place()
      const store = await openStore(at)
      const promise = { clusterId: 'c1' as ClusterId, voters: [n1, n2] }
      await store.writePromise(promise)
      await store.writePromise({ ...promise })
      await expect(store.writePromise({ ...promise, clusterId: 'c2' as ClusterId })).rejects.toThrow(InvariantError)
      await store.close()
      expect(await storeIn(at).open({ nodeId: null })).toMatchObject({ promise, generation: 2 })
    })

    it('keeps which cluster it joined, and joins no other and forms none', async () => {
      const at = await place()
      const store = await openStore(at)
      await store.writeJoined('c1' as ClusterId)
      await store.writeJoined('c1' as ClusterId)
      await store.close()
      const again = storeIn(at)
      expect(await again.open({ nodeId: null })).toMatchObject({ promise: null, joined: 'c1' })
      await expect(again.writeJoined('c2' as ClusterId)).rejects.toThrow(InvariantError)
      const other = await openStore()
      await other.writeJoined('c1' as ClusterId)
      await expect(other.writePromise({ clusterId: 'c1' as ClusterId, voters: [n1] })).rejects.toThrow(InvariantError)
      const third = await openStore()
      await third.writePromise({ clusterId: 'c1' as ClusterId, voters: [n1] })
      await expect(third.writeJoined('c1' as ClusterId)).rejects.toThrow(InvariantError)
    })

    it('begins behind what was compacted, with the snapshot that stands for it', async () => {
      const at = await place()
      const store = await filled(at, 9, 8)
      await store.write(
        batch({ term: 1, commit: 8, compact: { firstIndex: 5, snapshot: snapshotOf(7, 1) }, sync: false }),
      )
      await store.write(batch({ term: 2, commit: 8, truncateFrom: 9, entries: [entry(9, 2), entry(10, 2)] }))
      expect(await reopened(at, store)).toEqual({
        hardState: { term: 2, vote: null, commit: 8, isRecovering: false },
        snapshot: snapshotOf(7, 1),
        entries: [...[5, 6, 7, 8].map((index) => entry(index, 1)), entry(9, 2), entry(10, 2)],
      })
    })

    it('compacts all there is, truncates back to the snapshot, and goes on', async () => {
      const at = await place()
      const store = await filled(at, 6, 5)
      await store.write(batch({ term: 1, commit: 5, compact: { firstIndex: 6, snapshot: snapshotOf(5, 1) } }))
      await store.write(batch({ term: 2, commit: 5, truncateFrom: 6 }))
      await store.write(batch({ term: 2, commit: 6, entries: [entry(6, 2)] }))
      await store.write(batch({ term: 2, commit: 6, compact: { firstIndex: 7, snapshot: snapshotOf(6, 2) } }))
      await store.write(batch({ term: 2, commit: 6, entries: [entry(7, 2)] }))
      const { snapshot, entries } = await reopened(at, store)
      expect([snapshot, entries]).toEqual([snapshotOf(6, 2), [entry(7, 2)]])
    })

    it('replaces the whole log by a snapshot, and follows on behind it', async () => {
      const at = await place()
      const store = await filled(at, 40, 3)
      await store.write(batch({ term: 4, commit: 30, install: snapshotOf(30, 3) }))
      await store.write(batch({ term: 4, commit: 30, entries: [entry(31, 4)] }))
      expect(await reopened(at, store)).toEqual({
        hardState: { term: 4, vote: null, commit: 30, isRecovering: false },
        snapshot: snapshotOf(30, 3),
        entries: [entry(31, 4)],
      })
    })

    it('installs a snapshot far ahead of an empty log, with what follows in the same batch', async () => {
      const at = await place()
      const store = await openStore(at)
      const index = 4_000_000_000
      await store.write(
        batch({ term: 4, commit: index, install: snapshotOf(index, 3), entries: [entry(index + 1, 4)] }),
      )
      const { snapshot, entries } = await reopened(at, store)
      expect([snapshot, entries]).toEqual([snapshotOf(index, 3), [entry(index + 1, 4)]])
    })

    it('opens with nothing behind an installed snapshot', async () => {
      const at = await place()
      const store = await filled(at, 5, 5)
      await store.write(batch({ term: 4, commit: 9, install: snapshotOf(9, 3) }))
      expect(await reopened(at, store)).toMatchObject({ snapshot: { index: 9, term: 3 }, entries: [] })
    })

    it.each<[string, LogBatch]>([
      ['that would lose what is committed', batch({ term: 1, commit: 4, install: snapshotOf(3, 1) })],
      ['that is not said to be committed', batch({ term: 1, commit: 4, install: snapshotOf(6, 1) })],
    ])('refuses to install a snapshot %s', async (_what, bad) => {
      const store = await filled(await place(), 6, 4)
      await expect(store.write(bad)).rejects.toThrow(InvariantError)
    })

    it.each([
      ['behind the snapshot', 6, 4],
      ['before its present beginning', 2, 4],
      ['with an older snapshot', 3, 2],
      ['with a snapshot of what is not committed', 3, 5],
    ])('refuses to let the log begin %s', async (_what, firstIndex, index) => {
      const store = await filled(await place(), 6, 4)
      await store.write(batch({ term: 1, commit: 4, compact: { firstIndex: 3, snapshot: snapshotOf(3, 1) } }))
      const bad = batch({ term: 1, commit: 4, compact: { firstIndex, snapshot: snapshotOf(index, 1) } })
      await expect(store.write(bad)).rejects.toThrow(InvariantError)
    })

    it('refuses to be opened while another store holds the place', async () => {
      const at = await place()
      const store = await openStore(at)
      await expect(storeIn(at).open({ nodeId: n1 })).rejects.toMatchObject({ code: 'locked' })
      await store.write(batch({ term: 1 }))
    })

    it('refuses a write that starts before the one before has ended', async () => {
      const store = await openStore()
      const first = store.write(batch({ term: 1 }))
      await expect(store.write(batch({ term: 1 }))).rejects.toThrow('second write')
      await first
    })

    it.each<[string, LogBatch]>([
      ['a gap', batch({ term: 2, vote: n1, commit: 2, entries: [entry(5, 2)] })],
      [
        'an append over an entry that was not truncated',
        batch({ term: 2, vote: n1, commit: 2, entries: [entry(3, 2)] }),
      ],
      ['a term that goes back in the log', batch({ term: 2, vote: n1, commit: 2, entries: [entry(4, 1)] })],
      ['an entry of a later term than the hard state', batch({ term: 2, vote: n1, commit: 2, entries: [entry(4, 3)] })],
      ['a term that goes back', batch({ term: 1, vote: n1, commit: 2 })],
      ['a second vote in a term', batch({ term: 2, vote: n2, commit: 2 })],
      ['a commit index that goes back', batch({ term: 2, vote: n1, commit: 1 })],
      ['a commit index behind the end', batch({ term: 2, vote: n1, commit: 4 })],
      ['a truncation of what is committed', batch({ term: 2, vote: n1, commit: 2, truncateFrom: 2 })],
    ])('refuses %s, and everything after it', async (_what, bad) => {
      const at = await place()
      const store = await openStore(at)
      const entries = [entry(1, 1), entry(2, 2), entry(3, 2)]
      const good = batch({ term: 2, vote: n1, commit: 2 })
      await store.write({ ...good, entries })
      await expect(store.write(bad)).rejects.toThrow(InvariantError)
      await expect(store.write(good)).rejects.toThrow(InvariantError)
      expect(await reopened(at, store)).toEqual({ hardState: good.hardState, snapshot: null, entries })
    })
  })
}
