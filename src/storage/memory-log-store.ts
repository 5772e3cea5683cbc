import { assert } from '../std/assert.ts'
import type { SnapshotMeta } from '../raft/effects.ts'
import type { Entry, HardState, Index } from '../raft/entry.ts'
import type { ClusterId, NodeId } from '../vocabulary/ids.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import type {
  FormingPromise,
  LogBatch,
  LogStore,
  Quarantine,
  QuarantinedLog,
  ScrubReport,
  StoredNode,
} from './log-store.ts'
import { advanceTail, assertFree, assertSamePromise, keptIndex } from './log-tail.ts'
import type { LogTail } from './log-tail.ts'
import { settleNodeId } from './node-id.ts'

/** What outlives a store in memory, as a disk outlives a process. One store holds it at a time. */
export class MemoryDisk {
  nodeId: NodeId | null = null
  generation = 0
  promise: FormingPromise | null = null
  joined: ClusterId | null = null
  hardState: HardState = { term: 0, vote: null, commit: 0, isRecovering: false }
  snapshot: SnapshotMeta | null = null
  firstIndex: Index = 1
  /** `entries[n]` is the entry of index `firstIndex + n`. */
  readonly entries: Entry[] = []
  quarantine: Quarantine | null = null
  condemned: string | null = null
  /** Set by a test: what the next open tells to be damaged. */
  damage: string | null = null
  held = false
  /** Set by a test: the next write ends with this. */
  failure: Error | null = null
}

/** The log store of clusters that live in one process (tests, the simulator): the same rules as on LevelDB, no bytes. */
export class MemoryLogStore implements LogStore {
  readonly #disk: MemoryDisk
  lastQuarantine: Quarantine | null = null
  #isOpen = false
  #isDamaged = false
  #writing = false
  #dead: Error | undefined

  constructor(disk: MemoryDisk = new MemoryDisk()) {
    this.#disk = disk
  }

  async open(options: { nodeId: NodeId | null }): Promise<StoredNode> {
    assert(!this.#isOpen, 'the log store is opened twice')
    const disk = this.#disk
    if (disk.held) throw new OperatingError('locked', 'another store holds this disk in memory')
    disk.nodeId = settleNodeId({ given: options.nodeId, stored: disk.nodeId, where: 'the disk in memory' })
    disk.held = true
    this.#isOpen = true
    const why = disk.condemned ?? disk.damage
    this.#isDamaged = why !== null
    if (why !== null) return this.#stored(disk.nodeId, { why, condemned: disk.condemned !== null })
    disk.generation += 1
    this.lastQuarantine = disk.quarantine
    if (!disk.hardState.isRecovering) disk.quarantine = null
    return this.#stored(disk.nodeId, null)
  }

  async quarantine({ why, hardState, snapshot, entries }: QuarantinedLog): Promise<StoredNode> {
    const disk = this.#disk
    assert(this.#isOpen && disk.nodeId !== null, 'the log store is not open')
    const lostUpTo = disk.firstIndex + disk.entries.length - 1
    this.lastQuarantine = { why, lostUpTo, verified: null }
    Object.assign(disk, { quarantine: this.lastQuarantine, condemned: null, damage: null, hardState, snapshot })
    disk.generation += 1
    disk.firstIndex = entries[0]?.index ?? (snapshot?.index ?? 0) + 1
    disk.entries.splice(0, disk.entries.length, ...entries)
    this.#isDamaged = false
    return this.#stored(disk.nodeId, null)
  }

  async condemn(why: string): Promise<void> {
    this.#disk.condemned = why
  }

  async scrub(): Promise<ScrubReport> {
    return { records: this.#disk.entries.length, bytes: 0, isRoundDone: true, damage: null }
  }

  rewrite(): Promise<void> {
    return this.#exclusively(() => undefined)
  }

  #stored(nodeId: NodeId, damage: StoredNode['damage']): StoredNode {
    const { generation, promise, joined, hardState, snapshot, entries } = this.#disk
    const quarantine = this.lastQuarantine
    return { nodeId, generation, promise, joined, hardState, snapshot, entries: [...entries], damage, quarantine }
  }

  write(batch: LogBatch): Promise<void> {
    return this.#exclusively(() => {
      const disk = this.#disk
      const { hardState, snapshot, firstIndex, entries } = disk
      const lastIndex = firstIndex + entries.length - 1
      const lastTerm = entries.at(-1)?.term ?? snapshot?.term ?? 0
      const tail: LogTail = { hardState, snapshot, firstIndex, lastIndex, lastTerm }
      const kept = keptIndex(tail, batch)
      const next = advanceTail(tail, batch, entries[kept - firstIndex]?.term ?? snapshot?.term ?? 0)
      entries.length = batch.install === null ? kept - firstIndex + 1 : 0
      entries.splice(0, next.firstIndex - firstIndex)
      for (const entry of batch.entries) entries.push(entry)
      disk.hardState = next.hardState
      disk.snapshot = next.snapshot
      disk.firstIndex = next.firstIndex
    })
  }

  writePromise(promise: FormingPromise): Promise<void> {
    return this.#exclusively(() => {
      const { joined } = this.#disk
      assert(joined === null, `joined ${joined}, now to form ${promise.clusterId}`)
      assertSamePromise(this.#disk.promise, promise)
      this.#disk.promise = promise
    })
  }

  writeJoined(clusterId: ClusterId): Promise<void> {
    return this.#exclusively(() => {
      assertFree(this.#disk, clusterId)
      this.#disk.joined = clusterId
    })
  }

  async close(): Promise<void> {
    assert(!this.#writing, 'the log store is closed during a write')
    if (this.#isOpen) this.#disk.held = false
    this.#isOpen = false
  }

  /** As on a disk, a write takes a turn of the event loop, one runs at a time, and a failed one is the last. */
  async #exclusively(write: () => void): Promise<void> {
    assert(this.#isOpen && !this.#isDamaged, 'the log store is not open')
    if (this.#dead !== undefined) throw this.#dead
    assert(!this.#writing, 'a second write is started before the first has ended')
    this.#writing = true
    try {
      await new Promise((resume) => setImmediate(resume))
      if (this.#disk.failure !== null) {
        throw new OperatingError('storage-failed', 'write to the disk in memory failed', { cause: this.#disk.failure })
      }
      write()
    } catch (error) {
      this.#dead = error instanceof Error ? error : new Error(String(error))
      throw this.#dead
    } finally {
      this.#writing = false
    }
  }
}
