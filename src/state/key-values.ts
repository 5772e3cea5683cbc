import { assert } from '../std/assert.ts'
import { byName } from './by-name.ts'
import type { Command, CommandResult, Revision } from './command.ts'
import type { RecordChange } from './content-sum.ts'
import type { KvEntry, KvEvent } from './reader.ts'
import { SortedKeys, compareBytewise, lowerBound } from './sorted-keys.ts'

/** The key-value pairs, and what happened to them since somebody took that. Bounded by the log, which has a limit of its own. */
export class KeyValues {
  #entries = new Map<string, KvEntry>()
  #keys = new SortedKeys()
  #events: KvEvent[] = []
  readonly #changing: (key: string, change: RecordChange<KvEntry>) => void

  /** `changing` is told of each record that is about to come, go or be another, except in `restoring`. */
  constructor(changing: (key: string, change: RecordChange<KvEntry>) => void) {
    this.#changing = changing
  }

  find(key: string): KvEntry | undefined {
    return this.#entries.get(key)
  }

  /** In the order in which the keys came to be. */
  all(): KvEntry[] {
    return [...this.#entries.values()]
  }

  list({ prefix, after, limit }: { prefix: string; after: string | null; limit: number }): {
    readonly entries: readonly KvEntry[]
    readonly next: string | null
  } {
    assert(limit >= 1, 'kvList: limit is at least 1')
    const keys = this.#keys.all()
    let at = lowerBound(keys, after !== null && compareBytewise(after, prefix) >= 0 ? after : prefix)
    if (keys[at] === after) at += 1
    const entries: KvEntry[] = []
    for (; entries.length < limit; at += 1) {
      const key = keys[at]
      if (key === undefined || !key.startsWith(prefix)) return { entries, next: null }
      const found = this.#entries.get(key)
      assert(found !== undefined, `state: key ${at} is listed but not held`)
      entries.push(found)
    }
    const more = keys[at]?.startsWith(prefix) ?? false
    return { entries, next: more ? (entries.at(-1)?.key ?? null) : null }
  }

  set(command: Command & { kind: 'kv-set' }, index: Revision): CommandResult {
    const { key, value, expect } = command
    const known = this.#entries.get(key)
    const current = revisionOf(known)
    if (expect !== null && expect !== current) return { kind: 'revision-mismatch', revision: current }
    if (known === undefined) this.#keys.add(key)
    const entry = { key, value, revision: index }
    this.#changing(key, { before: known, after: entry })
    this.#entries.set(key, entry)
    this.#events.push({ kind: 'put', ...entry })
    return { kind: 'done', revision: index }
  }

  /** The comparison comes first: an absent key has revision 0. */
  delete(command: Command & { kind: 'kv-delete' }, index: Revision): CommandResult {
    const { key, expect } = command
    const known = this.#entries.get(key)
    const current = revisionOf(known)
    if (expect !== null && expect !== current) return { kind: 'revision-mismatch', revision: current }
    if (known === undefined) return { kind: 'not-found' }
    this.#changing(key, { before: known, after: undefined })
    this.#entries.delete(key)
    this.#keys.remove(key)
    this.#events.push({ kind: 'delete', key, revision: index })
    return { kind: 'done', revision: index }
  }

  /** Every change since the last take, in the order of its application. */
  takeEvents(): KvEvent[] {
    const events = this.#events
    this.#events = []
    return events
  }

  /**
   * Makes these the entries, in the order given, when `commit` of what it returns is called; whoever asks may rest between
   * the steps. Events that nobody has taken are lost.
   */
  *restoring(entries: readonly KvEntry[]): Generator<void, { commit: () => void }, void> {
    const named = yield* byName(entries, ({ key }) => key)
    const keys = yield* SortedKeys.sorting([...named.keys()])
    const commit = (): void => {
      this.#entries = named
      this.#keys = keys
      this.#events = []
    }
    return { commit }
  }
}

/** 0: there is no such key. Revisions begin at 1, as the indexes of the log do. */
function revisionOf(entry: KvEntry | undefined): Revision {
  return entry?.revision ?? 0
}
