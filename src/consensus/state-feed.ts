import type { SnapshotMeta } from '../raft/effects.ts'
import type { Entry } from '../raft/entry.ts'
import type { SnapshotStore } from '../storage/snapshot-store.ts'
import type { ConsensusEvents } from './consensus.ts'

/**
 * What the state machine hears, in order: where it begins anew, then what was committed from there on. While a snapshot is
 * read from the disk the entries behind it wait here; they are in Raft's log anyway, which is bounded.
 */
export class StateFeed {
  readonly #options: StateFeedOptions
  #begins: SnapshotMeta | null = null
  #reading: Promise<void> | undefined
  #held: Entry[] = []
  #ended = false

  constructor(options: StateFeedOptions) {
    this.#options = options
  }

  /** The state machine has not heard yet where it begins. */
  get isRestoring(): boolean {
    return this.#begins !== null
  }

  restore(snapshot: SnapshotMeta): void {
    this.#begins = snapshot
    this.#held = []
    this.#reading ??= this.#read(snapshot)
  }

  apply(entries: readonly Entry[]): void {
    if (entries.length === 0 || this.#ended) return
    if (this.#begins === null) this.#options.events.committed(entries)
    else for (const entry of entries) this.#held.push(entry)
  }

  /** Tells nothing more; resolves when nothing is read any more. */
  async end(): Promise<void> {
    this.#ended = true
    await this.#reading
  }

  async #read(first: SnapshotMeta): Promise<void> {
    const { store, events, restored, failed } = this.#options
    try {
      for (let snapshot = first; ; snapshot = this.#begins ?? snapshot) {
        const bytes = await store.read(snapshot).catch((error: unknown) => {
          if (this.#begins === snapshot) throw error
          return null
        })
        if (this.#ended) return
        // A newer one may have come meanwhile, and this one be deleted already.
        if (bytes === null || this.#begins !== snapshot) continue
        const entries = this.#held
        this.#begins = null
        this.#held = []
        this.#reading = undefined
        events.restore({ ...snapshot, bytes })
        this.apply(entries)
        restored()
        return
      }
    } catch (error) {
      if (!this.#ended) failed(error)
    }
  }
}

export type StateFeedOptions = {
  readonly store: SnapshotStore
  readonly events: Pick<ConsensusEvents, 'restore' | 'committed'>
  /** The state machine has heard all that was held up. */
  readonly restored: () => void
  readonly failed: (error: unknown) => void
}
