import type { Clock, Timer } from '../std/clock.ts'
import type { ConsensusEvents } from './consensus.ts'
import { freeSpaceIntervalMs, freeSpaceSlack, spareShare, untouchedShare } from './limits.ts'

/**
 * Whether the disk has room for more than what this node keeps for itself: to merge its files, to write a snapshot that lets
 * the log go. Full is below the reserve, and it stays so until a quarter more is free: it does not flap. Then a part of the
 * reserve may go to entries, once each time and while enough of it is free: it is for a quorum that is about to end all writes.
 * A disk that does not tell what is free counts for what it last told.
 */
export class DiskSpace {
  readonly #options: DiskSpaceOptions
  #free: number | null = null
  #isFull = false
  /** While full: what was last told. */
  #spareBytes = 0
  #writtenBytes = 0
  #timer: Timer | undefined
  #isAsking = false
  #isUnknown = false
  #ended = false

  constructor(options: DiskSpaceOptions) {
    this.#options = options
  }

  get isFull(): boolean {
    return this.#isFull
  }

  /** While full: bytes that entries may still take, counted from when it became full, or from when that fell. */
  get spareBytes(): number {
    return this.#spareBytes
  }

  /** Null: not known yet. */
  get freeBytes(): number | null {
    return this.#free
  }

  start(): void {
    this.#ask()
  }

  /** So many bytes went to the disk, about. */
  wrote(bytes: number): void {
    this.#writtenBytes += bytes
    if (this.#writtenBytes * 4 > this.#options.reserveBytes) this.#ask()
  }

  /** Whether a file of that length leaves at least half of the reserve free. */
  hasRoomFor(bytes: number): boolean {
    const { reserveBytes } = this.#options
    return reserveBytes === 0 || this.#free === null || this.#free - bytes >= reserveBytes * untouchedShare
  }

  end(): void {
    this.#ended = true
    this.#timer?.cancel()
  }

  #ask(): void {
    if (this.#isAsking || this.#ended) return
    this.#isAsking = true
    this.#writtenBytes = 0
    this.#timer?.cancel()
    const { clock, freeBytes } = this.#options
    void freeBytes()
      .then(
        (free) => this.#told(free),
        (error: unknown) => this.#notTold(error),
      )
      .finally(() => {
        this.#isAsking = false
        if (!this.#ended) this.#timer = clock.after(freeSpaceIntervalMs, () => this.#ask())
      })
  }

  #told(free: number): void {
    if (this.#ended) return
    const { reserveBytes, changed, log } = this.#options
    this.#free = free
    this.#isUnknown = false
    const isFull = free < reserveBytes * (this.#isFull ? 1 + freeSpaceSlack : 1)
    const untouched = Math.ceil(reserveBytes * untouchedShare)
    const spareBytes = isFull ? Math.max(0, Math.min(Math.floor(reserveBytes * spareShare), free - untouched)) : 0
    if (isFull === this.#isFull && spareBytes >= this.#spareBytes) return
    if (isFull !== this.#isFull) {
      if (isFull) log('error', 'disk-full', { freeBytes: free, reserveBytes })
      else log('info', 'disk-has-room', { freeBytes: free, reserveBytes })
    }
    this.#isFull = isFull
    this.#spareBytes = spareBytes
    changed()
  }

  #notTold(error: unknown): void {
    if (this.#ended || this.#isUnknown) return
    this.#isUnknown = true
    this.#options.log('warn', 'disk-space-unknown', { error })
  }
}

export type DiskSpaceOptions = {
  readonly clock: Clock
  readonly freeBytes: () => Promise<number>
  /** 0: the disk never counts as full. */
  readonly reserveBytes: number
  /** Whether it is full, or less of it is left to entries. */
  readonly changed: () => void
  readonly log: ConsensusEvents['log']
}
