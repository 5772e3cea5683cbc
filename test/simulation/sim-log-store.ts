import type { Clock } from '../../src/std/clock.ts'
import type { Entry } from '../../src/raft/entry.ts'
import { headKey, metaKey } from '../../src/storage/log-record.ts'
import { RecordLogStore } from '../../src/storage/record-log-store.ts'
import type {
  FormingPromise,
  LogBatch,
  LogStore,
  Quarantine,
  QuarantinedLog,
  ScrubReport,
  StoredNode,
} from '../../src/storage/log-store.ts'
import type { ClusterId, NodeId } from '../../src/vocabulary/ids.ts'
import { applyBatch, DiskImage } from './disk-image.ts'
import type { SimDisk } from './sim-disk.ts'
import { SimIo, SimRecordsPort, SimSlotFilePort, ioAtOnce } from './sim-ports.ts'
import type { Io } from './sim-ports.ts'
import type { SimProcess } from './sim-process.ts'
import type { RecordOperation } from './sim-records.ts'

/**
 * The log store of one process on its node's disk: the real one on simulated ports. Whatever passes is held against the
 * truth: what was durable, and what a start then finds or says of it.
 */
export class SimLogStore implements LogStore {
  readonly #disk: SimDisk
  readonly #store: LogStore
  readonly #watch: LogWatch
  /** The start told that nothing is to be trusted. */
  #isCondemned = false
  /** What the batch that comes next means to the truth. */
  #meaning: ((image: DiskImage) => void) | null = null

  constructor(process: SimProcess, disk: SimDisk, watch: LogWatch) {
    this.#disk = disk
    this.#watch = watch
    this.#store = makeStore(new SimIo(process, disk), {
      disk,
      clock: process.clock,
      landed: (operations) => this.#landed(operations),
    })
  }

  async open(options: { nodeId: NodeId | null }): Promise<StoredNode> {
    const stored = await this.#store.open(options)
    this.#checkFound(stored)
    return stored
  }

  async quarantine(begin: QuarantinedLog): Promise<StoredNode> {
    const disk = this.#disk
    const { promised } = disk
    if (begin.hardState.term < promised.term)
      this.#watch.broken('a quarantine keeps the term', `${begin.hardState.term}, it was in ${promised.term}`)
    const { vote } = begin.hardState
    if (begin.hardState.term === promised.term && promised.vote !== null && vote !== null && vote !== promised.vote)
      this.#watch.broken('a quarantine keeps the vote', `${vote}, it was for ${promised.vote}`)
    if (this.#isCondemned && (begin.snapshot !== null || begin.entries.length > 0))
      this.#watch.broken('who is condemned begins with nothing', `it begins with ${begin.entries.length} entries`)
    disk.quarantining = begin
    this.#meaning = () => this.#beginAnew(begin)
    const stored = await this.#store.quarantine(begin)
    disk.isCondemned = false
    disk.quarantines += 1
    this.#watch.opened(stored)
    return stored
  }

  get lastQuarantine(): Quarantine | null {
    return this.#store.lastQuarantine
  }

  async condemn(why: string): Promise<void> {
    this.#disk.isCondemned = true
    await this.#store.condemn(why)
    this.#disk.isCondemnedDurably = true
  }

  scrub(): Promise<ScrubReport> {
    return this.#store.scrub()
  }

  rewrite(entries: readonly Entry[]): Promise<void> {
    return this.#store.rewrite(entries)
  }

  async write(batch: LogBatch): Promise<void> {
    this.#watch.write(batch)
    this.#meaning = (image) => {
      if (image.hardState.isRecovering && !batch.hardState.isRecovering) this.#disk.silentlyLost = null
      applyBatch(image, batch, (what) => this.#broken(what))
    }
    await this.#store.write(batch)
    this.#disk.promised = batch.hardState
  }

  writePromise(promise: FormingPromise): Promise<void> {
    this.#meaning = (image) => {
      if (image.promise !== null && image.promise.clusterId !== promise.clusterId)
        this.#broken(`promises ${promise.clusterId} after ${image.promise.clusterId}`)
      image.promise = promise
    }
    return this.#store.writePromise(promise)
  }

  writeJoined(clusterId: ClusterId): Promise<void> {
    this.#watch.joins()
    this.#meaning = (image) => {
      if (image.joined !== null && image.joined !== clusterId) this.#broken(`joins ${clusterId} after ${image.joined}`)
      image.joined = clusterId
    }
    return this.#store.writeJoined(clusterId)
  }

  close(): Promise<void> {
    return this.#store.close()
  }

  /** Batches that only clear away mean nothing to the truth. */
  #landed(operations: readonly RecordOperation[]): () => void {
    const meaning = this.#meaning
    if (meaning === null || !operations.some(({ key }) => key === head || key === meta)) return () => undefined
    this.#meaning = null
    return () => meaning(this.#disk.image)
  }

  #checkFound(stored: StoredNode): void {
    const disk = this.#disk
    this.#isCondemned = stored.damage?.condemned === true
    if (disk.isCondemnedDurably && !disk.votes.isDamaged && !this.#isCondemned)
      this.#watch.broken('who is condemned is told so', `${stored.damage?.why ?? 'nothing'} is told`)
    if (stored.damage !== null) {
      if (disk.damaged.size === 0) this.#watch.broken('damage is found only where there is some', stored.damage.why)
      return
    }
    const begun = disk.quarantining
    // Of the commit index an older one will do: it is a hint (R8), and no home repeats it.
    const { commit } = stored.hardState
    const own = disk.image.hardState
    if (disk.damaged.has('records') && commit < own.commit) disk.image.hardState = { ...own, commit }
    const difference = disk.image.difference(stored)
    if (difference === null) {
      disk.quarantining = null
      disk.isCondemned = false
    } else if (begun !== null && DiskImage.isOf(begun, stored)) {
      this.#beginAnew(begun)
      disk.isCondemned = false
    } else if (disk.silentlyLost !== null && isBehind(stored, disk.image)) disk.image.become(stored)
    else this.#watch.broken('a node never starts on damaged data', difference)
    this.#watch.opened(stored)
  }

  #beginAnew(begin: QuarantinedLog): void {
    const disk = this.#disk
    disk.image.become(begin)
    disk.quarantining = null
    disk.isCondemnedDurably = false
    disk.silentlyLost = null
  }

  #broken(what: string): void {
    this.#watch.broken('a disk holds what a log can be', what)
  }
}

/** What forming leaves on the disk of a founder. */
export async function foundOn(disk: SimDisk, promise: FormingPromise, batch: LogBatch): Promise<void> {
  const clock = { now: () => 0, monotonic: () => 0, after: () => ({ cancel: () => undefined }) }
  const store = makeStore(ioAtOnce, { disk, clock, landed: () => () => undefined })
  await store.open({ nodeId: disk.node })
  await store.writePromise(promise)
  await store.write(batch)
  await store.close()
  disk.image.promise = promise
  applyBatch(disk.image, batch, () => undefined)
  disk.promised = batch.hardState
}

function makeStore(
  io: Io,
  { disk, clock, landed }: { disk: SimDisk; clock: Clock; landed: ConstructorParameters<typeof SimRecordsPort>[2] },
): LogStore {
  return new RecordLogStore({
    where: disk.node,
    records: new SimRecordsPort(io, disk, landed),
    voteFile: new SimSlotFilePort(io, disk),
    clock,
  })
}

export type LogWatch = {
  /** What Raft begins with. */
  opened(stored: StoredNode): void
  write(batch: LogBatch): void
  /** It was let into a cluster. */
  joins(): void
  broken(claim: string, detail: string): void
}

/** Of what was promised entries may lack at the end, and nothing else. */
function isBehind({ hardState, promise, joined }: StoredNode, image: DiskImage): boolean {
  const own = image.hardState
  return (
    hardState.term === own.term &&
    hardState.vote === own.vote &&
    hardState.isRecovering === own.isRecovering &&
    JSON.stringify([promise, joined]) === JSON.stringify([image.promise, image.joined])
  )
}

const head = String.fromCharCode(...headKey)
const meta = String.fromCharCode(...metaKey)
