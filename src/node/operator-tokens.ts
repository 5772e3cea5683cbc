import type { TokenNeeds, TokenSample, TokenStatus, TokenView } from '../admin/token-needs.ts'
import { makeJoinToken } from '../identity/join-token.ts'
import type { ClusterSecret } from '../identity/secret.ts'
import type { Log } from '../log/log.ts'
import type { CommandResult, JoinToken } from '../state/command.ts'
import type { ClusterId } from '../vocabulary/ids.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import type { Cluster } from './cluster.ts'

/**
 * Join tokens for operators: made of the cluster's secret and told to the cluster, listed and revoked. The text of one is
 * nowhere but in the answer to who asked for it.
 */
export class OperatorTokens implements TokenNeeds {
  readonly #options: OperatorTokensOptions

  constructor(options: OperatorTokensOptions) {
    this.#options = options
  }

  async create(
    { lifetimeMs, uses: usesMax, note }: Parameters<TokenNeeds['create']>[0],
    { timeoutMs }: { readonly timeoutMs: number },
  ): ReturnType<TokenNeeds['create']> {
    const { cluster, secret, log } = this.#options
    const clusterId = this.#options.clusterId()
    if (clusterId === null) {
      const message = 'create join token: the cluster has not formed yet, so there is nothing to join'
      throw new OperatingError('no-leader', message, { retry: 'after', retryAfterMs: 1000 })
    }
    const { id, text } = makeJoinToken(secret, clusterId)
    const createdAt = this.#options.now()
    const expiresAt = createdAt + lifetimeMs
    const token: JoinToken = { id, createdAt, expiresAt, usesMax, usedBy: [], isRevoked: false, note }
    settle(await cluster.propose({ kind: 'token-set', token }, timeoutMs), id)
    log.info('join-token-created', { id, expiresAt, usesMax })
    return { token: text, id, expiresAt, usesMax }
  }

  list(): readonly TokenView[] {
    const now = this.#options.now()
    return this.#options.cluster.state.tokens().map((token) => {
      const { id, createdAt, expiresAt, usesMax, usedBy, note } = token
      return { id, createdAt, expiresAt, usesMax, uses: usedBy.length, usedBy, status: statusOf(token, now), note }
    })
  }

  async revoke(id: string, { timeoutMs }: { readonly timeoutMs: number }): Promise<void> {
    const { cluster, log } = this.#options
    settle(await cluster.propose({ kind: 'token-revoke', id }, timeoutMs), id)
    log.info('join-token-revoked', { id })
  }

  sample(): TokenSample {
    const statusNow: Record<TokenStatus, number> = { usable: 0, expired: 0, 'used-up': 0, revoked: 0 }
    let usesNow = 0
    for (const { status, uses } of this.list()) {
      statusNow[status] += 1
      usesNow += uses
    }
    return { statusNow, usesNow }
  }
}

export type OperatorTokensOptions = {
  readonly cluster: Pick<Cluster, 'state' | 'propose'>
  readonly secret: ClusterSecret
  /** Null before this node belongs to a cluster. */
  readonly clusterId: () => ClusterId | null
  readonly now: () => number
  readonly log: Log
}

/** By this node's clock; what the log's says counts. */
function statusOf({ isRevoked, expiresAt, usedBy, usesMax }: JoinToken, now: number): TokenStatus {
  if (isRevoked) return 'revoked'
  if (expiresAt <= now) return 'expired'
  return usedBy.length >= usesMax ? 'used-up' : 'usable'
}

function settle(result: CommandResult, id: string): void {
  switch (result.kind) {
    case 'done':
      return
    case 'not-found':
      throw new OperatingError('not-found', `there is no join token ${id}; those long expired are forgotten`)
    case 'refused':
      throw new OperatingError('change-refused', `the join token was not made: ${result.reason}`)
    case 'revision-mismatch':
      throw new OperatingError('internal', 'join tokens have no revisions')
  }
}
