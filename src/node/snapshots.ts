import { setImmediate as afterIo } from 'node:timers/promises'
import type { Clock } from '../std/clock.ts'
import { encodeSnapshot } from '../state/snapshot.ts'
import type { StateImage } from '../state/snapshot.ts'
import type { Log } from '../log/log.ts'

/**
 * Takes snapshots of the state while it goes on: what the state holds is collected by reference in one go, then encoded
 * and joined in slices of a few milliseconds, between which the event loop turns and entries are applied. One at a time.
 */
export class Snapshots {
  readonly #options: SnapshotsOptions
  readonly #figures = { taken: 0, takenMs: 0, lastBytes: 0, longestSliceMs: 0 }
  #underWay: Promise<void> | null = null
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

  async #take(): Promise<void> {
    const { capture, save, clock, log } = this.#options
    const startedAt = clock.monotonic()
    const slice = { startedAt }
    const image = capture()
    const parts: Uint8Array[] = []
    let length = 0
    for (const part of encodeSnapshot(image)) {
      parts.push(part)
      length += part.length
      await this.#rest(slice)
      if (this.#stopped) return
    }
    const bytes = new Uint8Array(length)
    let at = 0
    for (const part of parts) {
      bytes.set(part, at)
      at += part.length
      await this.#rest(slice)
      if (this.#stopped) return
    }
    const durationMs = clock.monotonic() - startedAt
    this.#figures.taken += 1
    this.#figures.takenMs += durationMs
    this.#figures.lastBytes = length
    log.info('snapshot-taken', { index: image.appliedIndex, bytes: length, durationMs: Math.round(durationMs) })
    save({ index: image.appliedIndex, bytes })
  }

  /** Lets the event loop turn when the slice is long enough. */
  async #rest(slice: { startedAt: number }): Promise<void> {
    const { clock } = this.#options
    const sliceMs = clock.monotonic() - slice.startedAt
    this.#figures.longestSliceMs = Math.max(this.#figures.longestSliceMs, sliceMs)
    if (sliceMs < sliceMsMax) return
    await afterIo()
    slice.startedAt = clock.monotonic()
  }
}

export type SnapshotsOptions = {
  readonly capture: () => StateImage
  readonly save: (snapshot: { readonly index: number; readonly bytes: Uint8Array }) => void
  readonly clock: Clock
  readonly log: Log
}

export type SnapshotFigures = {
  /** Since the start of the process, and the time from the first byte to the last, ms together. */
  readonly taken: number
  readonly takenMs: number
  readonly lastBytes: number
  /** Longest time for which the event loop did not turn because of a snapshot, ms. */
  readonly longestSliceMs: number
}

/** A slice ends with the first part after this. */
const sliceMsMax = 4
