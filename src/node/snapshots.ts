import { setImmediate as afterIo } from 'node:timers/promises'
import type { Clock } from '../std/clock.ts'
import { crc32 } from '../std/hash.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import { encodeSnapshot } from '../state/snapshot.ts'
import type { StateImage } from '../state/snapshot.ts'
import { checkedFrom, encodeBeginning, setChecksum } from '../storage/snapshot-record.ts'
import type { Log } from '../log/log.ts'
import type { LogPosition } from './cluster.ts'
import { Slice } from './slice.ts'

/**
 * Takes snapshots of the state while it goes on: what the state holds is collected by reference in one go, then encoded
 * and joined in slices of a few milliseconds, between which the event loop turns and entries are applied. One at a time
 * for consensus, and one for people, which is handed out part by part and never held as a whole.
 */
export class Snapshots {
  readonly #options: SnapshotsOptions
  readonly #figures = { taken: 0, takenMs: 0, lastBytes: 0, longestSliceMs: 0 }
  #underWay: Promise<void> | null = null
  #isExporting = false
  #stopped = false

  constructor(options: SnapshotsOptions) {
    this.#options = options
  }

  get figures(): SnapshotFigures {
    return this.#figures
  }

  /** From consensus. The snapshot is of the state as it is now; a second wish while one is under way is the same wish. */
  wanted(): void {
    if (this.#stopped || this.#underWay !== null) return
    this.#underWay = this.#take().finally(() => (this.#underWay = null))
  }

  /** Resolves when none is under way any more. What is not done by now is not handed out. */
  async stop(): Promise<void> {
    this.#stopped = true
    await this.#underWay
  }

  /**
   * The state as it is now, as a file to keep (storage/snapshot-record). The beginning of a file tells length and checksum of
   * all of it, so the image is encoded once for each of them before, and a third time on its way: equal images have equal
   * bytes, and memory holds none of them. `close` is owed. Errors: `overloaded` (one is under way), `not-found` (there is
   * no state yet), `stopped`, `cancelled`.
   */
  async export(signal: AbortSignal): Promise<SnapshotExport> {
    const position = this.#options.position()
    if (position === null)
      throw new OperatingError('not-found', 'take a snapshot: this node has no state yet; ask another, or wait')
    if (this.#isExporting)
      throw new OperatingError('overloaded', 'take a snapshot: one is under way on this node already', {
        retry: 'elsewhere',
      })
    const image = this.#options.capture()
    this.#isExporting = true
    try {
      let length = 0
      await this.#encode(image, { signal, see: (part) => (length += part.length) })
      const { appliedIndex: index, time } = image
      const beginning = encodeBeginning({ ...position, index, time }, length)
      let checksum = crc32(beginning.subarray(checkedFrom))
      await this.#encode(image, { signal, see: (part) => (checksum = crc32(part, checksum)) })
      setChecksum(beginning, checksum)
      const parts = this.#exported(beginning, { image, signal })
      return { bytes: beginning.length + length, parts, close: () => (this.#isExporting = false) }
    } catch (error) {
      this.#isExporting = false
      throw error
    }
  }

  async *#exported(
    beginning: Uint8Array,
    { image, signal }: { readonly image: StateImage; readonly signal: AbortSignal },
  ): AsyncGenerator<Uint8Array, void, void> {
    yield beginning
    for (const part of this.#parts(image)) {
      yield part
      await afterIo()
      this.#checkWanted(signal)
    }
  }

  async #encode(
    image: StateImage,
    { signal, see }: { readonly signal: AbortSignal; readonly see: (part: Uint8Array) => void },
  ): Promise<void> {
    const slice = new Slice(this.#options.clock)
    for (const part of this.#parts(image)) {
      see(part)
      await slice.rest()
      this.#checkWanted(signal)
    }
    this.#noteSlice(slice)
  }

  /** Throws `state-diverged` at the end when a record is not what it was when it came to be; whoever holds the state is told. */
  *#parts(image: StateImage): Generator<Uint8Array, void, void> {
    const sum = yield* encodeSnapshot(image)
    if (sum.low === image.sum.low && sum.high === image.sum.high) return
    const error = new OperatingError(
      'state-diverged',
      `take a snapshot at ${image.appliedIndex}: what memory holds of the state is not what was applied; the memory of this machine may be faulty`,
    )
    this.#options.damaged(error)
    throw error
  }

  #noteSlice({ longestMs }: Slice): void {
    this.#figures.longestSliceMs = Math.max(this.#figures.longestSliceMs, longestMs)
  }

  #checkWanted(signal: AbortSignal): void {
    if (this.#stopped) throw new OperatingError('stopped', 'take a snapshot: this node is stopping')
    if (signal.aborted) throw new OperatingError('cancelled', 'take a snapshot: whoever asked went away')
  }

  /** A state that is still being restored has nothing to give before it is. */
  async #take(): Promise<void> {
    const { settled, capture, save, clock, log } = this.#options
    await settled()
    if (this.#stopped) return
    const startedAt = clock.monotonic()
    const image = capture()
    const bytes = await this.#joined(image)
    if (bytes === null) return
    const durationMs = clock.monotonic() - startedAt
    this.#figures.taken += 1
    this.#figures.takenMs += durationMs
    this.#figures.lastBytes = bytes.length
    log.info('snapshot-taken', { index: image.appliedIndex, bytes: bytes.length, durationMs: Math.round(durationMs) })
    save({ index: image.appliedIndex, bytes })
  }

  /** Null: the node stops, or its memory is not sound. */
  async #joined(image: StateImage): Promise<Uint8Array<ArrayBuffer> | null> {
    const slice = new Slice(this.#options.clock)
    const parts: Uint8Array[] = []
    let length = 0
    try {
      for (const part of this.#parts(image)) {
        parts.push(part)
        length += part.length
        await slice.rest()
        if (this.#stopped) return null
      }
    } catch (error) {
      if (error instanceof OperatingError) return null
      throw error
    }
    const bytes = new Uint8Array(length)
    let at = 0
    for (const part of parts) {
      bytes.set(part, at)
      at += part.length
      await slice.rest()
      if (this.#stopped) return null
    }
    this.#noteSlice(slice)
    return bytes
  }
}

export type SnapshotsOptions = {
  /** Resolves when the state is what it was handed. */
  readonly settled: () => Promise<void>
  readonly capture: () => StateImage
  /** Of what would be captured now; null while there is no state. */
  readonly position: () => LogPosition | null
  readonly save: (snapshot: { readonly index: number; readonly bytes: Uint8Array }) => void
  /** The state in memory is not what was applied. */
  readonly damaged: (why: OperatingError) => void
  readonly clock: Clock
  readonly log: Log
}

export type SnapshotExport = {
  /** Of all parts together. */
  readonly bytes: number
  readonly parts: AsyncIterable<Uint8Array>
  /** Nobody takes parts any more. */
  close(): void
}

export type SnapshotFigures = {
  /** Since the start of the process, and the time from the first byte to the last, ms together. */
  readonly taken: number
  readonly takenMs: number
  readonly lastBytes: number
  /** Longest time for which the event loop did not turn because of a snapshot, ms. */
  readonly longestSliceMs: number
}
