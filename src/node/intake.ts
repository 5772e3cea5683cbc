import type { Clock } from '../std/clock.ts'
import type { SnapshotMeta } from '../raft/effects.ts'
import type { Entry } from '../raft/entry.ts'
import { decodingSnapshot } from '../state/snapshot.ts'
import type { ClusterState } from '../state/state.ts'
import { Slice } from './slice.ts'

/**
 * What consensus hands to the state, in order. A snapshot is decoded and made the state in slices, between which the event
 * loop turns; what comes behind it waits meanwhile, and is applied in slices too. A newer snapshot takes the place of one
 * that is under way. Until the last step of it the state is what it was.
 */
export class Intake {
  readonly #options: IntakeOptions
  #snapshot: RestoredSnapshot | null = null
  /** Behind the snapshot. Consensus bounds what it hands out before it is applied. */
  #waiting: (readonly Entry[])[] = []
  #underWay: Promise<void> | null = null
  #isEnded = false

  constructor(options: IntakeOptions) {
    this.#options = options
  }

  restore(snapshot: RestoredSnapshot): void {
    if (this.#isEnded) return
    this.#snapshot = snapshot
    this.#waiting = []
    this.#underWay ??= this.#run()
  }

  committed(entries: readonly Entry[]): void {
    if (this.#isEnded) return
    if (this.#underWay === null) return this.#options.apply(entries)
    for (let at = 0; at < entries.length; at += appliedAtOnce) {
      this.#waiting.push(entries.slice(at, at + appliedAtOnce))
    }
  }

  get isBusy(): boolean {
    return this.#underWay !== null
  }

  /** Resolves when the state is all that was handed in before, or never will be. */
  async settled(): Promise<void> {
    await this.#underWay
  }

  /** Takes nothing more, and leaves what waits. */
  end(): void {
    this.#isEnded = true
    this.#snapshot = null
    this.#waiting = []
  }

  async #run(): Promise<void> {
    const slice = new Slice(this.#options.clock)
    for (;;) {
      const snapshot = this.#snapshot
      const entries = snapshot === null ? this.#waiting.shift() : undefined
      if (snapshot !== null) await this.#restore(snapshot, slice)
      else if (entries !== undefined) this.#options.apply(entries)
      else break
      await slice.rest()
    }
    this.#underWay = null
  }

  async #restore(snapshot: RestoredSnapshot, slice: Slice): Promise<void> {
    const { state, restored, malformed } = this.#options
    const isWanted = (): boolean => this.#snapshot === snapshot
    const decoded = await inSteps(decodingSnapshot(snapshot.bytes), { slice, isWanted })
    if (decoded === null) return
    const image = decoded.result
    const { index } = snapshot
    if ('malformed' in image || image.appliedIndex !== index) {
      this.end()
      malformed(snapshot, 'malformed' in image ? image.malformed : `its state is of index ${image.appliedIndex}`)
      return
    }
    const done = await inSteps(state.restoring(image), { slice, isWanted })
    if (done === null) return
    this.#snapshot = null
    restored(snapshot, { keys: image.kv.length, sliceMsLongest: slice.longestMs })
  }
}

/** Null: it was not wanted any more before it was done. */
async function inSteps<Result>(
  steps: Generator<void, Result, void>,
  { slice, isWanted }: { readonly slice: Slice; readonly isWanted: () => boolean },
): Promise<{ readonly result: Result } | null> {
  while (isWanted()) {
    const step = steps.next()
    if (step.done === true) return { result: step.value }
    await slice.rest()
  }
  return null
}

/** Entries that waited are applied so many at a time. */
const appliedAtOnce = 256

export type RestoredSnapshot = SnapshotMeta & { readonly bytes: Uint8Array }

export type IntakeOptions = {
  readonly state: ClusterState
  /** Comes in index order, from behind the snapshot that was restored last. */
  readonly apply: (entries: readonly Entry[]) => void
  /** The state is the image now. */
  readonly restored: (
    snapshot: RestoredSnapshot,
    how: { readonly keys: number; readonly sliceMsLongest: number },
  ) => void
  /** The bytes are no snapshot of that index; nothing more is taken. */
  readonly malformed: (snapshot: RestoredSnapshot, why: string) => void
  readonly clock: Clock
}
