/**
 * What clients wanted to be done once, out of a history of single requests: the attempts of one put or call count as one
 * deed. Reads are never sent again, so each is a deed of its own.
 */
import type { History, Operation } from './types.ts'

export type Deed = Pick<Operation, 'client' | 'kind' | 'key' | 'value' | 'expects' | 'outcome' | 'why'> & {
  /** In the order in which they were made. */
  readonly attempts: readonly Operation[]
  readonly calledUs: number
  /** When the first attempt was answered `ok`; null when none was. */
  readonly okUs: number | null
  /** As the first `ok` said. */
  readonly revision: number | null
}

export function deedsOf(history: History): Deed[] {
  let reads = 0
  const attempts = groupBy(history, ({ kind, key, value }) => {
    if (kind === 'call') return `call ${key}`
    return kind === 'kv-put' ? `put ${key} ${value}` : `read ${(reads += 1)}`
  })
  return [...attempts.values()].map((all) => deedOf(all.toSorted((a, b) => a.attempt - b.attempt)))
}

export function groupBy<T>(all: readonly T[], nameOf: (one: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>()
  for (const one of all) {
    const name = nameOf(one)
    const group = groups.get(name)
    if (group === undefined) groups.set(name, [one])
    else group.push(one)
  }
  return groups
}

function deedOf(attempts: readonly Operation[]): Deed {
  const [first] = attempts
  if (first === undefined) throw new Error('a deed has an attempt')
  const done = attempts.find(({ outcome }) => outcome === 'ok')
  // One that nobody knows of may be done after any that was refused.
  const last = done ?? attempts.find(({ outcome }) => outcome === 'unknown') ?? attempts.at(-1) ?? first
  const { client, kind, key, expects, calledUs } = first
  const { value, outcome, why } = last
  const okUs = done?.answeredUs ?? null
  return {
    client,
    kind,
    key,
    value,
    expects,
    outcome,
    why,
    attempts,
    calledUs,
    okUs,
    revision: done?.revision ?? null,
  }
}

/** Compare-and-set found another revision: the cluster works, and the write was not done. */
export function isMismatch({ outcome, why }: Pick<Operation, 'outcome' | 'why'>): boolean {
  return outcome === 'refused' && why !== null && why.startsWith('412')
}
