import { assert } from '../std/assert.ts'
import type { SnapshotMeta } from '../raft/effects.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import { isDamage } from './log-record.ts'
import { decodeSnapshot, encodeSnapshot, isSameSnapshot, snapshotName } from './snapshot-record.ts'
import type { SnapshotStore } from './snapshot-store.ts'

/** The files that outlive a snapshot store in memory. */
export class MemorySnapshots {
  readonly whole = new Map<string, Uint8Array>()
  part: { readonly name: string; readonly size: number; bytes: Uint8Array } | null = null
  /** Set by a test: what is written next ends with this. */
  failure: Error | null = null
}

/** The snapshot store of nodes that live in one process (tests, the simulator): the same bytes as in files. */
export class MemorySnapshotStore implements SnapshotStore {
  readonly #files: MemorySnapshots

  constructor(files: MemorySnapshots = new MemorySnapshots()) {
    this.#files = files
  }

  async open(): Promise<{ newest: SnapshotMeta | null; damaged: string[] }> {
    const files = this.#files
    const all: SnapshotMeta[] = []
    const damaged: string[] = []
    for (const [name, bytes] of files.whole) {
      const decoded = decodeSnapshot(bytes)
      if (!isDamage(decoded)) all.push(decoded.snapshot)
      else {
        files.whole.delete(name)
        damaged.push(`snapshot ${name} is damaged: ${decoded.damage}`)
      }
    }
    return { newest: all.sort((a, b) => b.index - a.index || b.term - a.term)[0] ?? null, damaged }
  }

  async setAside(): Promise<void> {
    this.#files.whole.clear()
    this.#files.part = null
  }

  async verify(snapshot: SnapshotMeta): Promise<string | null> {
    const bytes = this.#files.whole.get(snapshotName(snapshot))
    if (bytes === undefined) return `snapshot ${snapshotName(snapshot)} is damaged: it is missing`
    const decoded = decodeSnapshot(bytes)
    return isDamage(decoded) ? `snapshot ${snapshotName(snapshot)} is damaged: ${decoded.damage}` : null
  }

  async write(snapshot: SnapshotMeta, bytes: Uint8Array): Promise<void> {
    await this.#writing()
    this.#files.whole.set(snapshotName(snapshot), encodeSnapshot(snapshot, bytes))
  }

  async read(snapshot: SnapshotMeta): Promise<Uint8Array> {
    const decoded = decodeSnapshot(this.#stored(snapshot))
    if (isDamage(decoded)) throw new OperatingError('storage-failed', `read a snapshot in memory: ${decoded.damage}`)
    return decoded.data
  }

  async readChunk(
    snapshot: SnapshotMeta,
    offset: number,
    lengthMax: number,
  ): Promise<{ bytes: Uint8Array; size: number }> {
    const stored = this.#stored(snapshot)
    return { bytes: stored.slice(offset, offset + lengthMax), size: stored.length }
  }

  async receivedOffset(snapshot: SnapshotMeta, size: number): Promise<number> {
    const { whole, part } = this.#files
    const name = snapshotName(snapshot)
    if (whole.has(name)) return size
    return part?.name === name && part.size === size ? part.bytes.length : 0
  }

  async receive(
    snapshot: SnapshotMeta,
    chunk: { offset: number; size: number; bytes: Uint8Array },
  ): Promise<'more' | 'done' | 'damaged'> {
    const { offset, size, bytes } = chunk
    const files = this.#files
    const name = snapshotName(snapshot)
    if (files.part?.name !== name || files.part.size !== size) files.part = { name, size, bytes: new Uint8Array() }
    const { part } = files
    assert(offset === part.bytes.length, `chunk at ${offset} of a part that ends at ${part.bytes.length}`)
    await this.#writing()
    part.bytes = Buffer.concat([part.bytes, bytes])
    if (part.bytes.length < size) return 'more'
    files.part = null
    const decoded = decodeSnapshot(part.bytes)
    if (isDamage(decoded) || !isSameSnapshot(decoded.snapshot, snapshot)) return 'damaged'
    files.whole.set(name, part.bytes)
    return 'done'
  }

  async prune(newest: SnapshotMeta): Promise<void> {
    for (const [name, bytes] of this.#files.whole) {
      const decoded = decodeSnapshot(bytes)
      if (isDamage(decoded) || decoded.snapshot.index < newest.index) this.#files.whole.delete(name)
    }
  }

  async close(): Promise<void> {
    return undefined
  }

  #stored(snapshot: SnapshotMeta): Uint8Array {
    const stored = this.#files.whole.get(snapshotName(snapshot))
    if (stored !== undefined) return stored
    throw new OperatingError('storage-failed', `read snapshot ${snapshotName(snapshot)} in memory: it is not there`)
  }

  /** As on a disk, a write takes a turn of the event loop and may fail. */
  async #writing(): Promise<void> {
    await new Promise((resume) => setImmediate(resume))
    const { failure } = this.#files
    if (failure !== null) throw new OperatingError('storage-failed', 'write a snapshot in memory', { cause: failure })
  }
}
