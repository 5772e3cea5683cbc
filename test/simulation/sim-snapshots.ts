import type { SnapshotMeta } from '../../src/raft/effects.ts'
import type { SnapshotStore } from '../../src/storage/snapshot-store.ts'
import { isDamage } from '../../src/storage/log-record.ts'
import { decodeSnapshot, encodeSnapshot, isSameSnapshot, snapshotName } from '../../src/storage/snapshot-record.ts'
import { OperatingError } from '../../src/vocabulary/operating-error.ts'
import type { SimDisk } from './sim-disk.ts'
import type { SimProcess } from './sim-process.ts'
import { flipped } from './sim-records.ts'

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

  open(): Promise<{ newest: SnapshotMeta | null; damaged: readonly string[] }> {
    return this.#step(() => {
      const { snapshots } = this.#disk
      const damaged: string[] = []
      const whole: SnapshotMeta[] = []
      for (const [name, bytes] of snapshots.files) {
        const read = decodeSnapshot(bytes)
        if (!isDamage(read) && snapshotName(read.snapshot) === name) {
          whole.push(read.snapshot)
          continue
        }
        damaged.push(`${name}: ${isDamage(read) ? read.damage : 'it is another'}`)
        snapshots.files.delete(name)
      }
      snapshots.find()
      return { newest: whole.sort((a, b) => b.index - a.index)[0] ?? null, damaged }
    })
  }

  setAside(): Promise<void> {
    return this.#step(() => {
      const { snapshots } = this.#disk
      for (const name of snapshots.files.keys()) snapshots.remove(name)
    })
  }

  verify(snapshot: SnapshotMeta): Promise<string | null> {
    return this.#step(() => {
      const bytes = this.#disk.snapshots.files.get(snapshotName(snapshot))
      if (bytes === undefined) return 'it is missing'
      const read = decodeSnapshot(bytes)
      return isDamage(read) ? read.damage : null
    })
  }

  write(snapshot: SnapshotMeta, bytes: Uint8Array): Promise<void> {
    const stored = encodeSnapshot(snapshot, bytes)
    return this.#step(() => this.#disk.snapshots.put(snapshotName(snapshot), stored))
  }

  read(snapshot: SnapshotMeta): Promise<Uint8Array> {
    return this.#step(() => {
      const read = decodeSnapshot(this.#stored(snapshot))
      if (isDamage(read)) throw new OperatingError('storage-failed', `a snapshot is damaged: ${read.damage}`)
      return read.data
    })
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
      const read = decodeSnapshot(together)
      if (isDamage(read) || !isSameSnapshot(read.snapshot, snapshot)) return 'damaged'
      disk.snapshots.put(snapshotName(snapshot), together)
      return 'done'
    })
  }

  prune(newest: SnapshotMeta): Promise<void> {
    return this.#step(() => {
      const { snapshots } = this.#disk
      for (const name of snapshots.files.keys()) if (indexOfName(name) < newest.index) snapshots.remove(name)
    })
  }

  close(): Promise<void> {
    this.#process.world.promised()
    return Promise.resolve()
  }

  #stored(snapshot: SnapshotMeta): Uint8Array {
    const stored = this.#disk.snapshots.files.get(snapshotName(snapshot))
    const name = snapshotName(snapshot)
    if (stored === undefined && this.#disk.snapshots.damaged.has(name))
      throw new OperatingError('storage-failed', `the snapshot ${name} is gone`)
    if (stored === undefined) throw new Error(`there is no snapshot ${name}`)
    return stored
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

function indexOfName(name: string): number {
  return Number(name.split('-')[0])
}

/** The snapshot files of one disk. */
export class SimSnapshotFiles {
  readonly files = new Map<string, Uint8Array>()
  /** Names of those that are not as they were written, or are gone, while the node does not know. */
  readonly damaged = new Set<string>()

  /** Of those, what the node has come to know, while it has not yet made up for it. */
  readonly #found = new Set<string>()

  get isDamaged(): boolean {
    return this.damaged.size > 0 || this.#found.size > 0
  }

  has(name: string): boolean {
    return this.files.has(name) || this.damaged.has(name) || this.#found.has(name)
  }

  /** All were looked at. */
  find(): void {
    for (const name of this.damaged) this.#found.add(name)
    this.damaged.clear()
  }

  /** The node has started without what it found to be damaged. */
  settle(): void {
    this.#found.clear()
  }

  put(name: string, bytes: Uint8Array): void {
    this.files.set(name, bytes)
    this.damaged.delete(name)
  }

  remove(name: string): void {
    this.files.delete(name)
    this.damaged.delete(name)
  }

  /** Cuts it, changes a bit of it, or takes it away. */
  damage(how: 'value' | 'gone' | 'cut', pick: number): string | null {
    const names = [...this.files.keys()].sort()
    const name = names[pick % names.length]
    if (name === undefined) return null
    const bytes = this.files.get(name) as Uint8Array
    if (how === 'gone') this.files.delete(name)
    else this.files.set(name, how === 'cut' ? bytes.slice(0, pick % bytes.length) : flipped(bytes, pick))
    this.damaged.add(name)
    return name
  }
}
