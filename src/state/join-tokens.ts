import { compareIds } from '../vocabulary/ids.ts'
import type { NodeId } from '../vocabulary/ids.ts'
import { clockSkewMaxMs } from '../vocabulary/join.ts'
import {
  joinTokenKnownForMs,
  joinTokenLifetimeMaxMs,
  joinTokensKnownMax,
  joinTokensMax,
} from '../vocabulary/join-token-limits.ts'
import type { CommandResult, JoinToken, Revision, TokenRefusal } from './command.ts'
import type { RecordChange } from './content-sum.ts'

/**
 * The join tokens that the cluster knows. What makes one a token is not here: that is derived from the cluster's secret.
 *
 * Tokens expire and are forgotten by log time alone, at most `joinTokensMax` of them are unexpired and `joinTokensKnownMax`
 * known, so every node lets in and refuses at the same entry.
 */
export class JoinTokens {
  #tokens = new Map<string, JoinToken>()
  #sorted: readonly JoinToken[] | null = null
  /** No token is to be forgotten before this log time. */
  #forgetFrom = Infinity
  readonly #changing: (id: string, change: RecordChange<JoinToken>) => void

  /** `changing` is told of each record that is about to come, go or be another, except in `restore`. */
  constructor(changing: (id: string, change: RecordChange<JoinToken>) => void) {
    this.#changing = changing
  }

  find(id: string): JoinToken | undefined {
    return this.#tokens.get(id)
  }

  /** In the order in which they became known. */
  all(): JoinToken[] {
    return [...this.#tokens.values()]
  }

  /** By creation, then id. */
  sorted(): readonly JoinToken[] {
    this.#sorted ??= this.all().sort((a, b) => a.createdAt - b.createdAt || compareIds(a.id, b.id))
    return this.#sorted
  }

  /** Log time has come to here. */
  advance(time: number): void {
    if (time < this.#forgetFrom) return
    for (const token of this.all()) if (forgottenAt(token) <= time) this.#replace(token, undefined)
  }

  set(token: JoinToken, { index, time }: Entry): CommandResult {
    if (this.#tokens.has(token.id)) return refused(`join token ${token.id} exists already`)
    if (token.expiresAt <= time) return refused(`join token ${token.id} would have expired when it became known`)
    if (token.expiresAt > time + joinTokenLifetimeMaxMs + clockSkewMaxMs) {
      return refused(`join token ${token.id} would expire later than any may; is a clock wrong?`)
    }
    const unexpired = this.all().filter(({ expiresAt }) => expiresAt > time)
    if (unexpired.length >= joinTokensMax) {
      return refused(`${joinTokensMax} join tokens have not expired yet; there may be no more at a time`)
    }
    this.#replace(undefined, token)
    if (this.#tokens.size > joinTokensKnownMax) this.#forgetLongestExpired()
    return { kind: 'done', revision: index }
  }

  /** A repeat by a node that it has let in changes nothing, but is refused like the first when the token is over. */
  use(id: string, node: NodeId, { index, time }: Entry): CommandResult {
    const token = this.#tokens.get(id)
    if (token === undefined) return refusedUse('unknown')
    if (token.isRevoked) return refusedUse('revoked')
    if (token.expiresAt <= time) return refusedUse('expired')
    if (!token.usedBy.includes(node)) {
      if (token.usedBy.length >= token.usesMax) return refusedUse('used-up')
      this.#replace(token, { ...token, usedBy: [...token.usedBy, node] })
    }
    return { kind: 'done', revision: index }
  }

  revoke(id: string, index: Revision): CommandResult {
    const token = this.#tokens.get(id)
    if (token === undefined) return { kind: 'not-found' }
    if (!token.isRevoked) this.#replace(token, { ...token, isRevoked: true })
    return { kind: 'done', revision: index }
  }

  /** Begins anew with these. */
  restore(tokens: readonly JoinToken[]): void {
    this.#tokens = new Map(tokens.map((token) => [token.id, token]))
    this.#noteChange()
  }

  #forgetLongestExpired(): void {
    const [oldest] = this.all().sort((a, b) => a.expiresAt - b.expiresAt || compareIds(a.id, b.id))
    if (oldest !== undefined) this.#replace(oldest, undefined)
  }

  #replace(before: JoinToken | undefined, after: JoinToken | undefined): void {
    const id = (before ?? after)?.id ?? ''
    this.#changing(id, { before, after })
    if (after === undefined) this.#tokens.delete(id)
    else this.#tokens.set(id, after)
    this.#noteChange()
  }

  #noteChange(): void {
    this.#sorted = null
    this.#forgetFrom = Math.min(...this.all().map(forgottenAt))
  }
}

/** Where a command stands: its index, and log time there. */
type Entry = { readonly index: Revision; readonly time: number }

function forgottenAt({ expiresAt }: JoinToken): number {
  return expiresAt + joinTokenKnownForMs
}

function refused(reason: string): CommandResult {
  return { kind: 'refused', reason }
}

function refusedUse(refusal: TokenRefusal): CommandResult {
  return refused(refusal)
}
