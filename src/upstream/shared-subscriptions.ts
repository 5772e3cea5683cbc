import type { SessionId } from '../vocabulary/ids.ts'

/**
 * Who of the sessions that share an upstream is subscribed to which resource. The upstream has one subscription of each
 * URI, as long as any session has one.
 */
export class SharedSubscriptions {
  readonly #max: number
  readonly #byUri = new Map<string, Set<SessionId>>()
  readonly #bySession = new Map<SessionId, Set<string>>()
  #count = 0

  /** So many in all, each session's counted by itself. */
  constructor(max: number) {
    this.#max = max
  }

  has(session: SessionId, uri: string): boolean {
    return this.#byUri.get(uri)?.has(session) ?? false
  }

  /** False: there is no room for more. */
  add(session: SessionId, uri: string): boolean {
    if (this.has(session, uri)) return true
    if (this.#count >= this.#max) return false
    this.#byUri.set(uri, (this.#byUri.get(uri) ?? new Set()).add(session))
    this.#bySession.set(session, (this.#bySession.get(session) ?? new Set()).add(uri))
    this.#count += 1
    return true
  }

  remove(session: SessionId, uri: string): void {
    if (!this.has(session, uri)) return
    drop(this.#byUri, uri, session)
    drop(this.#bySession, session, uri)
    this.#count -= 1
  }

  /** All of one session's. Answers the URIs that nobody is subscribed to any more. */
  removeSession(session: SessionId): readonly string[] {
    const uris = [...(this.#bySession.get(session) ?? [])]
    for (const uri of uris) this.remove(session, uri)
    return uris.filter((uri) => !this.isWanted(uri))
  }

  isWanted(uri: string): boolean {
    return this.#byUri.has(uri)
  }

  uris(): readonly string[] {
    return [...this.#byUri.keys()]
  }

  /** Who is to hear that the resource has changed: a part of what somebody is subscribed to may be named. */
  hearersOf(uri: string): readonly Hearer[] {
    const hearers: Hearer[] = []
    const add = (subscribed: string): void => {
      for (const session of this.#byUri.get(subscribed) ?? []) hearers.push({ session, uri: subscribed })
    }
    add(uri)
    for (let end = uri.length - 1; end > 0; end -= 1) {
      if (!separators.has(uri[end] ?? '')) continue
      add(uri.slice(0, end))
      add(uri.slice(0, end + 1))
    }
    return hearers
  }
}

export type Hearer = { readonly session: SessionId; readonly uri: string }

/** What may stand between a resource's URI and the name of its part. */
const separators = new Set(['/', '?', '#'])

function drop<Key, Value>(map: Map<Key, Set<Value>>, key: Key, value: Value): void {
  const values = map.get(key)
  if (values?.delete(value) === true && values.size === 0) map.delete(key)
}
