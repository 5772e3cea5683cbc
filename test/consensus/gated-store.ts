import type { ClusterId } from '../../src/vocabulary/ids.ts'
import type { Entry } from '../../src/raft/entry.ts'
import type {
  FormingPromise,
  LogBatch,
  LogStore,
  Quarantine,
  QuarantinedLog,
  ScrubReport,
  StoredNode,
} from '../../src/storage/log-store.ts'

/** A store whose writes wait while the gate is shut, as on a disk that stalls. */
export class GatedStore implements LogStore {
  readonly batches: LogBatch[] = []
  readonly #store: LogStore
  #opened: Promise<void> = Promise.resolve()
  #open: () => void = () => undefined

  constructor(store: LogStore) {
    this.#store = store
  }

  shut(): void {
    this.#opened = new Promise((resolve) => {
      this.#open = resolve
    })
  }

  unshut(): void {
    this.#open()
  }

  open(options: Parameters<LogStore['open']>[0]): Promise<StoredNode> {
    return this.#store.open(options)
  }

  get lastQuarantine(): Quarantine | null {
    return this.#store.lastQuarantine
  }

  quarantine(begin: QuarantinedLog): Promise<StoredNode> {
    return this.#store.quarantine(begin)
  }

  condemn(why: string): Promise<void> {
    return this.#store.condemn(why)
  }

  scrub(): Promise<ScrubReport> {
    return this.#store.scrub()
  }

  async rewrite(entries: readonly Entry[]): Promise<void> {
    await this.#opened
    await this.#store.rewrite(entries)
  }

  async write(batch: LogBatch): Promise<void> {
    this.batches.push(batch)
    await this.#opened
    await this.#store.write(batch)
  }

  async writePromise(promise: FormingPromise): Promise<void> {
    await this.#opened
    await this.#store.writePromise(promise)
  }

  async writeJoined(clusterId: ClusterId): Promise<void> {
    await this.#opened
    await this.#store.writeJoined(clusterId)
  }

  close(): Promise<void> {
    return this.#store.close()
  }
}
