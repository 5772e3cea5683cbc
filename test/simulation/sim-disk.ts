import type { SnapshotMeta } from '../../src/raft/effects.ts'
import type { Entry, HardState, Index, Term } from '../../src/raft/entry.ts'
import type { FormingPromise, LogBatch, LogStore, StoredNode } from '../../src/storage/log-store.ts'
import type { ClusterId, NodeId } from '../../src/vocabulary/ids.ts'
import { OperatingError } from '../../src/vocabulary/operating-error.ts'
import type { SimProcess } from './sim-process.ts'
import type { Stream } from './streams.ts'

/** What is on the platter: survives every crash. Changed only by whole batches. */
export class DiskImage {
  generation = 0
  promise: FormingPromise | null = null
  joined: ClusterId | null = null
  hardState: HardState = { term: 0, vote: null, commit: 0, isRecovering: false }
  snapshot: SnapshotMeta | null = null
  firstIndex: Index = 1
  /** From `firstIndex` on. */
  entries: Entry[] = []

  get lastIndex(): Index {
    return this.entries.length === 0 ? Math.max(this.firstIndex - 1, 0) : this.firstIndex + this.entries.length - 1
  }

  /** Undefined for what is not there; a compacted place is known only at the snapshot's own index. */
  term(index: Index): Term | undefined {
    if (this.snapshot?.index === index) return this.snapshot.term
    return this.entries[index - this.firstIndex]?.term
  }
}

/** A change on its way to the platter. */
type DiskWrite = { readonly apply: (image: DiskImage) => void; readonly sync: boolean }

/**
 * The disk of one node, as LevelDB offers it: each batch is atomic, and durable once a synced write behind or at it has
 * ended. Writes that were not waited for end, and so land, in any order. A killed process loses what was on its way, or
 * not; a power cut also loses any tail of what was not synced.
 */
export class SimDisk {
  readonly node: NodeId
  readonly image = new DiskImage()
  readonly snapshots = new Map<string, StoredSnapshot>()
  /** A snapshot that is being received. */
  partial: { readonly meta: SnapshotMeta; readonly size: number; bytes: Uint8Array; synced: number } | null = null
  /** Writes end not before this time. */
  stalledUntilUs = 0
  /** The next write ends with an error. */
  failNext = false
  readonly stream: Stream
  readonly meanUs: number
  readonly onBroken: (what: string) => void
  /** In the operating system's memory. */
  #written: DiskWrite[] = []
  #underWay = new Set<DiskWrite>()

  constructor(options: { node: NodeId; stream: Stream; meanUs: number; onBroken: (what: string) => void }) {
    this.node = options.node
    this.stream = options.stream
    this.meanUs = options.meanUs
    this.onBroken = options.onBroken
  }

  hasSnapshot(meta: SnapshotMeta): boolean {
    return this.snapshots.has(snapshotName(meta))
  }

  delayUs(nowUs: number, sync: boolean): number {
    const us = sync ? 100 + this.stream.around(this.meanUs) : 20 + this.stream.around(this.meanUs / 10)
    return Math.max(us, this.stalledUntilUs - nowUs)
  }

  begin(write: DiskWrite): void {
    this.#underWay.add(write)
  }

  /** False when the power went in between. */
  finish(write: DiskWrite): boolean {
    if (!this.#underWay.delete(write)) return false
    this.#written.push(write)
    if (write.sync) this.#flush()
    return true
  }

  drop(write: DiskWrite): void {
    this.#underWay.delete(write)
  }

  crash(how: 'kill' | 'power'): void {
    const underWay = this.stream.shuffle([...this.#underWay])
    this.#underWay.clear()
    if (how === 'power') this.#written = this.#written.slice(0, this.stream.between(0, this.#written.length))
    const isWhole = how === 'kill' || this.#written.length > 0 || this.stream.chance(500)
    if (isWhole) this.#written.push(...underWay.slice(0, this.stream.between(0, underWay.length)))
    this.#flush()
    if (this.partial !== null) {
      const kept =
        how === 'kill' ? this.partial.bytes.length : this.stream.between(this.partial.synced, this.partial.bytes.length)
      this.partial.bytes = this.partial.bytes.slice(0, kept)
    }
  }

  #flush(): void {
    for (const write of this.#written) write.apply(this.image)
    this.#written = []
  }
}

/** What a snapshot is kept under. */
export function snapshotName({ index, term }: SnapshotMeta): string {
  return `${index}/${term}`
}

export type StoredSnapshot = { readonly meta: SnapshotMeta; readonly bytes: Uint8Array }

/** The log store of one process on its node's disk. */
export class SimLogStore implements LogStore {
  readonly #process: SimProcess
  readonly #disk: SimDisk
  readonly #watch: LogWatch
  #isDead = false

  constructor(process: SimProcess, disk: SimDisk, watch: LogWatch) {
    this.#process = process
    this.#disk = disk
    this.#watch = watch
  }

  open(): Promise<StoredNode> {
    this.#process.world.promised()
    const image = this.#disk.image
    image.generation += 1
    const { generation, promise, joined, hardState, snapshot, entries } = image
    const stored = { nodeId: this.#disk.node, generation, promise, joined, hardState, snapshot, entries: [...entries] }
    this.#watch.opened(stored)
    return Promise.resolve(stored)
  }

  write(batch: LogBatch): Promise<void> {
    this.#watch.write(batch)
    return this.#perform(batch.sync, (image) => applyBatch(image, batch, (what) => this.#disk.onBroken(what)))
  }

  writePromise(promise: FormingPromise): Promise<void> {
    return this.#perform(true, (image) => {
      if (image.promise !== null && image.promise.clusterId !== promise.clusterId)
        this.#disk.onBroken(`promises ${promise.clusterId} after ${image.promise.clusterId}`)
      image.promise = promise
    })
  }

  writeJoined(clusterId: ClusterId): Promise<void> {
    return this.#perform(true, (image) => {
      if (image.joined !== null && image.joined !== clusterId)
        this.#disk.onBroken(`joins ${clusterId} after ${image.joined}`)
      image.joined = clusterId
    })
  }

  close(): Promise<void> {
    this.#process.world.promised()
    return Promise.resolve()
  }

  #perform(sync: boolean, apply: (image: DiskImage) => void): Promise<void> {
    const { world } = this.#process
    world.promised()
    return new Promise((resolve, reject) => {
      if (!this.#process.reach('write')) return
      const write = { apply, sync }
      const disk = this.#disk
      disk.begin(write)
      const isFailing = this.#isDead || disk.failNext
      disk.failNext = false
      world.after(disk.delayUs(world.nowUs, sync), `${disk.node} disk`, () => {
        if (!this.#process.alive) return
        if (isFailing) {
          this.#isDead = true
          disk.drop(write)
          // What a failed fsync leaves behind is anybody's guess.
          if (disk.stream.chance(500)) disk.begin(write)
          this.#tell(() => reject(new OperatingError('storage-failed', 'the simulated disk failed')))
          return
        }
        if (!disk.finish(write) || !this.#process.reach('written')) return
        this.#tell(resolve)
      })
    })
  }

  #tell(settle: () => void): void {
    this.#process.later(0, 'input', 'disk', () => {
      this.#process.world.promised()
      settle()
    })
  }
}

export type LogWatch = { opened(stored: StoredNode): void; write(batch: LogBatch): void }

/** The rules of the log store's contract, written down a second time. */
function applyBatch(image: DiskImage, batch: LogBatch, broken: (what: string) => void): void {
  const before = image.hardState
  const { hardState, entries, install, compact } = batch
  if (hardState.term < before.term) broken(`term ${hardState.term} after ${before.term}`)
  if (hardState.term === before.term && before.vote !== null && hardState.vote !== before.vote)
    broken(`vote for ${hardState.vote} after ${before.vote} in term ${before.term}`)
  if (hardState.commit < before.commit) broken(`commit ${hardState.commit} after ${before.commit}`)
  if (install !== null) {
    if (install.index < before.commit) broken(`snapshot ${install.index} installed over commit ${before.commit}`)
    image.entries = []
    image.snapshot = install
    image.firstIndex = install.index + 1
  }
  if (batch.truncateFrom !== null) {
    if (batch.truncateFrom <= before.commit) broken(`truncates from ${batch.truncateFrom}, committed ${before.commit}`)
    if (batch.truncateFrom <= image.lastIndex) image.entries.length = Math.max(0, batch.truncateFrom - image.firstIndex)
  }
  for (const entry of entries) {
    const last = image.lastIndex
    if (entry.index !== last + 1) broken(`entry ${entry.index} behind ${last}`)
    if (entry.term < (image.term(last) ?? 0)) broken(`entry ${entry.index} of term ${entry.term} behind a higher term`)
    image.entries.push(entry)
  }
  if (compact !== null) {
    if (compact.firstIndex > compact.snapshot.index + 1)
      broken(`the log begins at ${compact.firstIndex}, the snapshot ends at ${compact.snapshot.index}`)
    if (compact.snapshot.index < (image.snapshot?.index ?? 0)) broken('an older snapshot stands for the log')
    if (compact.firstIndex > image.firstIndex) {
      image.entries = image.entries.slice(compact.firstIndex - image.firstIndex)
      image.firstIndex = compact.firstIndex
    }
    image.snapshot = compact.snapshot
  }
  image.hardState = hardState
  if (hardState.commit > image.lastIndex) broken(`commit ${hardState.commit} behind the end ${image.lastIndex}`)
}
