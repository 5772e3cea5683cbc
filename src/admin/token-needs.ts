import type { ChangeLimits } from './needs.ts'

/** Who may join. A change rejects as one of MembershipNeeds does, and with `not-found` when there is no such token. */
export type TokenNeeds = {
  /** Rejects with `no-leader` before the cluster has formed. */
  create(
    wanted: { readonly lifetimeMs: number; readonly uses: number; readonly note: string },
    limits: ChangeLimits,
  ): Promise<TokenMadeView>
  /** By their making. */
  list(): readonly TokenView[]
  revoke(id: string, limits: ChangeLimits): Promise<void>
}

/** `token`: the secret that is shown once. */
export type TokenMadeView = {
  readonly token: string
  readonly id: string
  /** Wall time, ms. */
  readonly expiresAt: number
  readonly usesMax: number
}

export type TokenView = {
  readonly id: string
  /** Wall time, ms. */
  readonly createdAt: number
  readonly expiresAt: number
  readonly usesMax: number
  readonly uses: number
  /** Ids of the nodes that it let in. */
  readonly usedBy: readonly string[]
  readonly status: TokenStatus
  readonly note: string
}

export type TokenStatus = 'usable' | 'expired' | 'used-up' | 'revoked'

/** Of the join tokens that are known now. */
export type TokenSample = {
  readonly statusNow: Readonly<Record<TokenStatus, number>>
  /** Nodes that they let in. */
  readonly usesNow: number
}
