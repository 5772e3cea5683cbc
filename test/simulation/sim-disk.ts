import type { HardState, Index } from '../../src/raft/entry.ts'
import type { SnapshotMeta } from '../../src/raft/effects.ts'
import type { QuarantinedLog } from '../../src/storage/log-store.ts'
import { snapshotName } from '../../src/storage/snapshot-record.ts'
import type { NodeId } from '../../src/vocabulary/ids.ts'
import { DiskImage } from './disk-image.ts'
import type { Home } from './fault-atlas.ts'
import { judgeLoss } from './loss.ts'
import type { Lost } from './loss.ts'
import { SimRecords } from './sim-records.ts'
import type { IsTold } from './sim-records.ts'
import { SimSlots } from './sim-slots.ts'
import { SimSnapshotFiles } from './sim-snapshots.ts'
import type { Stream } from './streams.ts'

/** Of a disk, what its node keeps for itself. */
export const reserveBytes = 256 * 1024

/**
 * The disk of one node: it outlives every process. The bytes of its records, of its vote file and of its snapshots, and beside
 * them the truth: what the node was promised to find there.
 */
export class SimDisk {
  readonly node: NodeId
  readonly records = new SimRecords()
  readonly votes = new SimSlots()
  readonly snapshots = new SimSnapshotFiles()
  readonly image = new DiskImage()
  /** A snapshot that is being received. */
  partial: { readonly meta: SnapshotMeta; readonly size: number; bytes: Uint8Array; synced: number } | null = null
  /** Writes end not before this time. */
  stalledUntilUs = 0
  /** The next write ends with an error; what it wrote is there, or gone. */
  failNext: 'kept' | 'gone' | null = null
  /** What a quarantine was asked to begin with, until it is known whether it came to that. */
  quarantining: QuarantinedLog | null = null
  /** The node was told itself that nothing here is to be trusted. */
  isCondemned = false
  isCondemnedDurably = false
  /** All was taken from it, and it is not a member that counts again. */
  isWiped = false
  /** A loss that the node can not tell was allowed: from here on it may find less than it was promised. */
  silentlyLost: Index | null = null
  /** Where the log of committed entries ended when it was wiped. */
  wipedAt: Index = 0
  /** Of hard state, the last that a write was reported durable with. */
  promised: HardState = { term: 0, vote: null, commit: 0, isRecovering: false }
  quarantines = 0
  /** In this life it was told of an error. */
  hasErred = false
  /** Bytes that are free; null: more than anybody needs. */
  freeBytes: number | null = null
  readonly stream: Stream
  readonly meanUs: number

  readonly #isHarmless: (lost: Lost) => boolean

  constructor(options: { node: NodeId; stream: Stream; meanUs: number; isHarmless: (lost: Lost) => boolean }) {
    this.node = options.node
    this.stream = options.stream
    this.meanUs = options.meanUs
    this.#isHarmless = options.isHarmless
  }

  /** Which homes hold something else than what was written. */
  get damaged(): ReadonlySet<Home> {
    const homes = new Set<Home>()
    if (this.records.isDamaged || this.isCondemned) homes.add('records')
    if (this.votes.isDamaged) homes.add('votes')
    if (this.snapshots.isDamaged) homes.add('snapshots')
    return homes
  }

  hasSnapshot(meta: SnapshotMeta): boolean {
    return this.snapshots.has(snapshotName(meta))
  }

  delayUs(nowUs: number, sync: boolean): number {
    const us = sync ? 100 + this.stream.around(this.meanUs) : 20 + this.stream.around(this.meanUs / 10)
    return Math.max(us, this.stalledUntilUs - nowUs)
  }

  /** Whether durable batches may be lost so that this is left. */
  readonly mayLose: IsTold = (left, now) => {
    const loss = judgeLoss(this, left, now)
    if (loss === 'told') return true
    if (loss === 'hidden' || !this.#isHarmless(loss)) return false
    this.silentlyLost = loss.from
    return true
  }

  crash(how: 'kill' | 'power'): void {
    this.votes.crash(how, this.stream)
    this.records.crash(how, this.stream, this.mayLose)
    if (this.partial === null) return
    const { bytes, synced } = this.partial
    const kept = how === 'kill' ? bytes.length : this.stream.between(synced, bytes.length)
    this.partial.bytes = bytes.slice(0, kept)
  }

  /** What was to happen with the next write does not. */
  disarm(): void {
    this.records.disarm()
    this.votes.disarm()
  }

  wipe(wipedAt: Index): void {
    this.records.replace([])
    this.votes.wipe()
    this.snapshots.files.clear()
    this.snapshots.find()
    this.snapshots.settle()
    this.partial = null
    this.isCondemned = false
    this.isCondemnedDurably = false
    this.quarantining = null
    this.silentlyLost = null
    this.image.wipe()
    this.isWiped = true
    this.wipedAt = wipedAt
    this.promised = this.image.hardState
  }
}
