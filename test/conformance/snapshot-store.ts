import { afterEach, describe, expect, it } from 'vitest'
import { InvariantError } from '../../src/std/assert.ts'
import type { SnapshotMeta } from '../../src/raft/effects.ts'
import type { SnapshotStore } from '../../src/storage/snapshot-store.ts'
import { snapshotOf } from '../fixtures/log-batches.ts'

/** A place that outlives its stores; `newStore` makes one over it, as a restart does. */
export type SnapshotStorePlace = {
  newStore(): SnapshotStore
  /** Flips a bit of the stored snapshot. */
  damage(snapshot: SnapshotMeta): Promise<void>
  remove(): Promise<void>
}

/** What every snapshot store keeps. */
export function snapshotStoreConformance(name: string, makePlace: () => Promise<SnapshotStorePlace>): void {
  describe(`the snapshot store ${name}`, () => {
    const undo: (() => Promise<void>)[] = []
    afterEach(async () => {
      for (const step of undo.splice(0).toReversed()) await step()
    })

    async function place(): Promise<SnapshotStorePlace> {
      const made = await makePlace()
      undo.push(() => made.remove())
      return made
    }

    async function openStore(at?: SnapshotStorePlace): Promise<SnapshotStore> {
      const store = (at ?? (await place())).newStore()
      undo.push(() => store.close())
      await store.open()
      return store
    }

    const [older, newer] = [snapshotOf(10, 2), snapshotOf(25, 3)]
    const bytes = (length: number): Uint8Array => Uint8Array.from({ length }, (_, at) => (at * 7) % 251)

    /** Everything that is stored of a snapshot, as it travels. */
    async function stored(snapshot: SnapshotMeta, data: Uint8Array): Promise<Uint8Array> {
      const store = await openStore()
      await store.write(snapshot, data)
      const { size } = await store.readChunk(snapshot, 0, 0)
      const parts: Uint8Array[] = []
      for (let offset = 0; offset < size; offset += 1000) {
        parts.push((await store.readChunk(snapshot, offset, 1000)).bytes)
      }
      return new Uint8Array(Buffer.concat(parts))
    }

    async function receive(store: SnapshotStore, snapshot: SnapshotMeta, whole: Uint8Array, step = 1000) {
      const answers: string[] = []
      let offset = await store.receivedOffset(snapshot, whole.length)
      for (; offset < whole.length; offset += step) {
        const part = whole.subarray(offset, offset + step)
        answers.push(await store.receive(snapshot, { offset, size: whole.length, bytes: part }))
      }
      return answers
    }

    it('has nothing at first', async () => {
      expect(await (await place()).newStore().open()).toEqual({ newest: null, damaged: [] })
    })

    it.each([0, 1, 5000, 3_000_000])('gives back what was written, after a restart too (%i bytes)', async (length) => {
      const at = await place()
      const first = await openStore(at)
      const data = bytes(length)
      await first.write(older, data)
      expect(Buffer.compare(await first.read(older), data)).toBe(0)
      await first.close()
      const second = at.newStore()
      expect(await second.open()).toEqual({ newest: older, damaged: [] })
      expect(Buffer.compare(await second.read(older), data)).toBe(0)
    })

    it('answers the newest, and can read the older until it is pruned', async () => {
      const at = await place()
      const store = await openStore(at)
      await store.write(newer, bytes(20))
      await store.write(older, bytes(10))
      expect((await at.newStore().open()).newest).toEqual(newer)
      expect(await store.read(older)).toEqual(bytes(10))
      await store.prune(newer)
      await expect(store.read(older)).rejects.toMatchObject({ code: 'storage-failed' })
      await expect(store.readChunk(older, 0, 1)).rejects.toMatchObject({ code: 'storage-failed' })
      expect(await store.read(newer)).toEqual(bytes(20))
    })

    it('takes a snapshot in parts, and it counts once it is whole', async () => {
      const whole = await stored(newer, bytes(4500))
      const at = await place()
      const store = await openStore(at)
      await store.write(older, bytes(1))
      const answers = await receive(store, newer, whole)
      expect(answers).toEqual([...answers.slice(1).map(() => 'more'), 'done'])
      expect(await store.read(newer)).toEqual(bytes(4500))
      expect(await store.receivedOffset(newer, whole.length)).toBe(whole.length)
      await store.close()
      expect((await at.newStore().open()).newest).toEqual(newer)
    })

    it('says where a part that is being received ends, and takes the rest', async () => {
      const whole = await stored(newer, bytes(4500))
      const store = await openStore()
      expect(await store.receivedOffset(newer, whole.length)).toBe(0)
      await store.receive(newer, { offset: 0, size: whole.length, bytes: whole.subarray(0, 1234) })
      expect(await store.receivedOffset(newer, whole.length)).toBe(1234)
      expect((await receive(store, newer, whole)).at(-1)).toBe('done')
      expect(await store.read(newer)).toEqual(bytes(4500))
    })

    it('forgets the part of one snapshot when another is received', async () => {
      const [first, second] = [await stored(older, bytes(3000)), await stored(newer, bytes(3000))]
      const store = await openStore()
      await store.receive(older, { offset: 0, size: first.length, bytes: first.subarray(0, 1000) })
      expect((await receive(store, newer, second)).at(-1)).toBe('done')
      expect(await store.receivedOffset(older, first.length)).toBe(0)
      expect((await receive(store, older, first)).at(-1)).toBe('done')
    })

    it('goes on with a part after a restart', async () => {
      const whole = await stored(newer, bytes(3000))
      const at = await place()
      const store = await openStore(at)
      await store.receive(newer, { offset: 0, size: whole.length, bytes: whole.subarray(0, 1000) })
      await store.close()
      const again = await openStore(at)
      expect(await again.receivedOffset(newer, whole.length)).toBe(1000)
      expect(await again.receivedOffset(newer, whole.length + 1)).toBe(0)
      expect((await receive(again, newer, whole)).at(-1)).toBe('done')
      expect(await again.read(newer)).toEqual(bytes(3000))
    })

    it('tells whether a snapshot is what was written, and sets all aside when told', async () => {
      const at = await place()
      const store = await openStore(at)
      await store.write(older, bytes(10))
      await store.write(newer, bytes(5000))
      expect(await store.verify(newer)).toBeNull()
      await at.damage(newer)
      expect(await store.verify(newer)).toMatch(/25-3.* is damaged: its checksum/)
      expect(await store.verify(older)).toBeNull()
      await store.setAside()
      await expect(store.read(older)).rejects.toMatchObject({ code: 'storage-failed' })
      expect(await at.newStore().open()).toEqual({ newest: null, damaged: [] })
    })

    it.each([0, 5, 13, 60, 4000, -1])('throws a part away that came damaged at byte %i', async (where) => {
      const whole = await stored(newer, bytes(4500))
      const damaged = new Uint8Array(whole)
      const flipped = where < 0 ? damaged.length + where : where
      damaged[flipped] = (damaged[flipped] ?? 0) ^ 4
      const at = await place()
      const store = await openStore(at)
      expect((await receive(store, newer, damaged)).at(-1)).toBe('damaged')
      expect(await store.receivedOffset(newer, whole.length)).toBe(0)
      expect((await at.newStore().open()).newest).toBeNull()
      expect((await receive(store, newer, whole)).at(-1)).toBe('done')
    })

    it('takes no snapshot for another one', async () => {
      const whole = await stored(newer, bytes(100))
      const store = await openStore()
      expect((await receive(store, snapshotOf(26, 3), whole)).at(-1)).toBe('damaged')
    })

    it('asserts that parts come without a gap', async () => {
      const store = await openStore()
      const bad = store.receive(newer, { offset: 10, size: 100, bytes: bytes(10) })
      await expect(bad).rejects.toThrow(InvariantError)
    })

    it('does not count what was damaged on the disk, and falls back to the older', async () => {
      const at = await place()
      const store = await openStore(at)
      await store.write(older, bytes(10))
      await store.write(newer, bytes(5000))
      await at.damage(newer)
      await expect(store.read(newer)).rejects.toMatchObject({ code: 'storage-failed' })
      expect(await at.newStore().open()).toMatchObject({ newest: older, damaged: [expect.stringContaining('25-3')] })
    })
  })
}
