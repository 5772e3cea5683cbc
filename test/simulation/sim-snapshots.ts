import type { SnapshotMeta } from '../../src/raft/effects.ts'
import type { SnapshotStore } from '../../src/storage/snapshot-store.ts'
import { snapshotName } from './sim-disk.ts'
import type { SimDisk } from './sim-disk.ts'
import type { SimProcess } from './sim-process.ts'
import { mixBytes } from './streams.ts'

/**
 * The snapshot store of one process on its node's disk. A step that a crash meets has happened whole or not at all; of a
 * snapshot that is being received, any part that was not synced may be lost.
 */
export class SimSnapshotStore implements SnapshotStore {
  readonly #process: SimProcess
  readonly #disk: SimDisk

  constructor(process: SimProcess, disk: SimDisk) {
    this.#process = process
    this.#disk = disk
  }

  open(): Promise<SnapshotMeta | null> {
    return this.#step(() => {
      const newest = [...this.#disk.snapshots.values()].sort((a, b) => b.meta.index - a.meta.index)[0]
      return newest?.meta ?? null
    })
  }

  write(snapshot: SnapshotMeta, bytes: Uint8Array): Promise<void> {
    const stored = withChecksum(bytes)
    return this.#step(() => void this.#disk.snapshots.set(snapshotName(snapshot), { meta: snapshot, bytes: stored }))
  }

  read(snapshot: SnapshotMeta): Promise<Uint8Array> {
    return this.#step(() => this.#stored(snapshot).subarray(4))
  }

  readChunk(snapshot: SnapshotMeta, offset: number, lengthMax: number): Promise<{ bytes: Uint8Array; size: number }> {
    return this.#step(() => {
      const bytes = this.#stored(snapshot)
      return { bytes: bytes.slice(offset, offset + Math.min(lengthMax, chunkBytesMax)), size: bytes.length }
    })
  }

  receivedOffset(snapshot: SnapshotMeta, size: number): Promise<number> {
    return this.#step(() => {
      const { partial } = this.#disk
      if (partial === null || snapshotName(partial.meta) !== snapshotName(snapshot) || partial.size !== size) return 0
      return partial.bytes.length
    })
  }

  receive(
    snapshot: SnapshotMeta,
    chunk: { offset: number; size: number; bytes: Uint8Array },
  ): Promise<'more' | 'done' | 'damaged'> {
    return this.#step(() => {
      const disk = this.#disk
      const { offset, size, bytes } = chunk
      if (
        disk.partial === null ||
        snapshotName(disk.partial.meta) !== snapshotName(snapshot) ||
        disk.partial.size !== size
      )
        disk.partial = { meta: snapshot, size, bytes: new Uint8Array(0), synced: 0 }
      const { partial } = disk
      if (offset !== partial.bytes.length) {
        disk.partial = null
        return 'damaged'
      }
      const together = new Uint8Array(offset + bytes.length)
      together.set(partial.bytes)
      together.set(bytes, offset)
      partial.bytes = together
      if (together.length < size) return 'more'
      disk.partial = null
      if (!isWhole(together)) return 'damaged'
      disk.snapshots.set(snapshotName(snapshot), { meta: snapshot, bytes: together })
      return 'done'
    })
  }

  prune(newest: SnapshotMeta): Promise<void> {
    return this.#step(() => {
      for (const [name, { meta }] of this.#disk.snapshots)
        if (meta.index < newest.index) this.#disk.snapshots.delete(name)
    })
  }

  close(): Promise<void> {
    this.#process.world.promised()
    return Promise.resolve()
  }

  #stored(snapshot: SnapshotMeta): Uint8Array {
    const stored = this.#disk.snapshots.get(snapshotName(snapshot))
    if (stored === undefined) throw new Error(`there is no snapshot ${snapshotName(snapshot)}`)
    return stored.bytes
  }

  /** One step: it may be the last thing the process does, before it and behind it. */
  #step<T>(run: () => T): Promise<T> {
    const process = this.#process
    const { world } = process
    world.promised()
    return new Promise((resolve, reject) => {
      if (!process.reach('snapshot')) return
      world.after(this.#disk.delayUs(world.nowUs, true), `${process.node} snapshots`, () => {
        if (!process.alive) return
        let settle: () => void
        try {
          const result = run()
          settle = () => resolve(result)
        } catch (error) {
          settle = () => reject(error instanceof Error ? error : new Error(String(error)))
        }
        if (!process.reach('snapshotted')) return
        process.later(0, 'input', 'snapshot step', () => {
          world.promised()
          settle()
        })
      })
    })
  }
}

/** Small, so that a snapshot takes several. */
const chunkBytesMax = 400

function withChecksum(bytes: Uint8Array): Uint8Array {
  const stored = new Uint8Array(bytes.length + 4)
  new DataView(stored.buffer).setUint32(0, mixBytes(0, bytes))
  stored.set(bytes, 4)
  return stored
}

function isWhole(stored: Uint8Array): boolean {
  return new DataView(stored.buffer, stored.byteOffset).getUint32(0) === mixBytes(0, stored.subarray(4))
}
