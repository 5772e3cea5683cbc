import { deferred } from '../std/deferred.ts'
import type { Deferred } from '../std/deferred.ts'
import { keyBytesMax } from '../vocabulary/kv-limits.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import type { KvEvent } from '../state/reader.ts'

/**
 * Who watches keys, over a bounded history of changes that they share: a watch is a place in it, so that a slow one costs
 * nothing and is cut when the history has moved on past its place (`compacted`), never told a wrong thing. Each change
 * that matches is told once, in the order of revisions, from the revision that was asked for on.
 */
export class KvWatches {
  readonly #limits: KvHistoryLimits
  readonly #watches = new Set<Watch>()
  /** In the order of revisions; nothing stands before `#start` any more. */
  #events: (KvEvent | undefined)[] = []
  #start = 0
  #length = 0
  /** Every change of this revision and later ones is in the history, or yet to come. */
  #since = 1
  #appliedIndex = 0
  #stopped: OperatingError | null = null

  constructor(limits: KvHistoryLimits = historyLimits) {
    this.#limits = limits
  }

  get count(): number {
    return this.#watches.size
  }

  /**
   * `from`: the first revision that is told; null: what comes from now on. In `pattern` each `*` stands for any run of
   * characters, also none. Errors: `bad-request`, `compacted` (details.revision: where one may begin), `overloaded`.
   */
  open({ pattern, from }: { readonly pattern: string; readonly from: number | null }): KvWatch {
    if (this.#stopped !== null) throw this.#stopped
    if (Buffer.byteLength(pattern) > keyBytesMax)
      throw new OperatingError('bad-request', `watch: the pattern is longer than ${keyBytesMax} bytes`)
    if (this.#watches.size >= watchesMax)
      throw new OperatingError('overloaded', `watch: this node has ${watchesMax} watches already`, {
        retry: 'elsewhere',
      })
    if (from !== null && from < this.#since) throw this.#compacted(from)
    const watch: Watch = {
      matches: makeMatcher(pattern),
      next: from ?? this.#appliedIndex + 1,
      waiting: null,
    }
    this.#watches.add(watch)
    return {
      get next() {
        return watch.next
      },
      take: () => this.#take(watch),
      close: () => {
        this.#watches.delete(watch)
        watch.waiting?.resolve()
      },
    }
  }

  /** The changes of the newly applied entries, and up to where those go. */
  applied(events: readonly KvEvent[], appliedIndex: number): void {
    this.#appliedIndex = appliedIndex
    for (const event of events) {
      this.#events.push(event)
      this.#length += lengthOf(event)
    }
    for (const watch of this.#watches) {
      if (watch.waiting === null) continue
      if (events.some((event) => event.revision >= watch.next && watch.matches(event.key))) wake(watch)
      else watch.next = Math.max(watch.next, appliedIndex + 1)
    }
    this.#trim()
  }

  /** The state began anew at that index: what led there is not known here. Watches whose place was before are cut. */
  reset(appliedIndex: number): void {
    this.#events = []
    this.#start = 0
    this.#length = 0
    this.#since = appliedIndex + 1
    this.#appliedIndex = appliedIndex
    for (const watch of this.#watches) if (watch.next < this.#since) wake(watch)
  }

  stop(why: OperatingError): void {
    this.#stopped = why
    for (const watch of this.#watches) wake(watch)
    this.#watches.clear()
  }

  async #take(watch: Watch): Promise<readonly KvEvent[]> {
    for (;;) {
      if (this.#stopped !== null) throw this.#stopped
      if (!this.#watches.has(watch)) return []
      if (watch.next < this.#since) throw this.#compacted(watch.next)
      const found = this.#find(watch)
      if (found.length > 0) return found
      watch.waiting = deferred()
      await watch.waiting.promise
    }
  }

  /** The next changes for the watch, as many as one may take at once; moves its place behind what it looked at. */
  #find(watch: Watch): KvEvent[] {
    const found: KvEvent[] = []
    let length = 0
    for (let at = this.#placeOf(watch.next); at < this.#events.length; at += 1) {
      const event = this.#events[at]
      if (event === undefined || !watch.matches(event.key)) continue
      found.push(event)
      watch.next = event.revision + 1
      length += lengthOf(event)
      if (length > takenLengthMax) return found
    }
    watch.next = Math.max(watch.next, this.#appliedIndex + 1)
    return found
  }

  #placeOf(revision: number): number {
    let low = this.#start
    let high = this.#events.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#events[middle]?.revision ?? 0) < revision) low = middle + 1
      else high = middle
    }
    return low
  }

  #trim(): void {
    const { eventsMax, lengthMax } = this.#limits
    while (this.#events.length - this.#start > eventsMax || this.#length > lengthMax) {
      const event = this.#events[this.#start]
      if (event === undefined) break
      this.#events[this.#start] = undefined
      this.#start += 1
      this.#length -= lengthOf(event)
      this.#since = event.revision + 1
    }
    if (this.#start <= eventsMax) return
    this.#events = this.#events.slice(this.#start)
    this.#start = 0
  }

  #compacted(from: number): OperatingError {
    const revision = this.#since
    return new OperatingError(
      'compacted',
      `watch: changes from revision ${from} on are no longer kept here; read the keys, then watch from ${revision} or later`,
      { details: { revision } },
    )
  }
}

/** One watch. `take` resolves to the next changes, at least one unless it was closed; errors: `compacted`, `stopped`. */
export type KvWatch = {
  /** Everything before this revision has been told. */
  readonly next: number
  take(): Promise<readonly KvEvent[]>
  close(): void
}

export type KvHistoryLimits = {
  readonly eventsMax: number
  /** Keys and values together, in UTF-16 units. */
  readonly lengthMax: number
}

type Watch = {
  readonly matches: (key: string) => boolean
  next: number
  waiting: Deferred<void> | null
}

const historyLimits: KvHistoryLimits = { eventsMax: 32_768, lengthMax: 32 * 1024 * 1024 }
const watchesMax = 1024
/** Keys and values that are taken at once, about. */
const takenLengthMax = 256 * 1024

function wake(watch: Watch): void {
  watch.waiting?.resolve()
  watch.waiting = null
}

function lengthOf(event: KvEvent): number {
  return event.key.length + (event.kind === 'put' ? event.value.length : 0) + 16
}

/** The first part begins the key, the last ends it, and each other stands as early as it can: so none needs another try. */
export function makeMatcher(pattern: string): (key: string) => boolean {
  const [first = '', ...rest] = pattern.split('*')
  const last = rest.pop()
  if (last === undefined) return (key) => key === pattern
  return (key) => {
    if (!key.startsWith(first)) return false
    let at = first.length
    for (const part of rest) {
      const found = key.indexOf(part, at)
      if (found === -1) return false
      at = found + part.length
    }
    return key.length - last.length >= at && key.endsWith(last)
  }
}
