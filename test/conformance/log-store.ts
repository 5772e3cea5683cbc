import { afterEach, describe, expect, it } from 'vitest'
import { InvariantError } from '../../src/std/assert.ts'
import type { Entry, HardState } from '../../src/raft/entry.ts'
import type { LogBatch, LogStore } from '../../src/storage/log-store.ts'
import type { ClusterId, ProposalId } from '../../src/vocabulary/ids.ts'
import { batch, entry, n1, n2 } from '../fixtures/log-batches.ts'

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
    ): Promise<{ hardState: HardState; entries: readonly Entry[] }> {
      await store.close()
      const { hardState, entries } = await storeIn(at).open({ nodeId: null })
      return { hardState, entries }
    }

    it('opens empty the first time, with the given id and generation 1', async () => {
      const store = storeIn(await place())
      expect(await store.open({ nodeId: n1 })).toEqual({
        nodeId: 'n1',
        generation: 1,
        promise: null,
        hardState: { term: 0, vote: null, commit: 0 },
        entries: [],
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
      const odd: Entry = { index: 2, term: 3, kind: 'noop', id: '' as ProposalId, data: new Uint8Array(0) }
      const large: Entry = { ...entry(3, 3), kind: 'configuration', data: new Uint8Array(300_000).fill(0xa5) }
      await store.write(batch({ term: 3, vote: n2, entries: [entry(1, 1), odd] }))
      await store.write(batch({ term: 3, vote: n2, commit: 2, entries: [large] }))
      expect(await reopened(at, store)).toEqual({
        hardState: { term: 3, vote: 'n2', commit: 2 },
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
      expect(await reopened(at, store)).toEqual({ hardState: { term: 7, vote: 'n2', commit: 0 }, entries: [] })
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
      expect(await reopened(at, store)).toEqual({ hardState: good.hardState, entries })
    })
  })
}
