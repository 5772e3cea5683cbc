import { describe, expect, it } from 'vitest'
import { joinKeyOf, parseJoinToken } from '../../src/identity/join-token.ts'
import { ClusterSecret } from '../../src/identity/secret.ts'
import type { Log, LogFields } from '../../src/log/log.ts'
import { OperatorTokens } from '../../src/node/operator-tokens.ts'
import { decodeCommand, encodeCommand } from '../../src/state/command-codec.ts'
import type { Command } from '../../src/state/command.ts'
import { ClusterState } from '../../src/state/state.ts'
import type { ClusterId, NodeId } from '../../src/vocabulary/ids.ts'
import { joinTokensMax } from '../../src/vocabulary/join-token-limits.ts'

const clusterId = '9f3c6a1e-2b7d-4c58-8e0f-1a2b3c4d5e6f' as ClusterId
const secret = ClusterSecret.from('the secret of one cluster, and long enough')
const limits = { timeoutMs: 1000 }

/** A node whose proposals are applied at once, as bytes, at log time 1000 s. */
function makeTokens({ formed = true, now = 1_000_000 } = {}) {
  const state = new ClusterState()
  const lines: unknown[] = []
  const note = (event: string, fields?: LogFields): void => void lines.push({ event, ...fields })
  const log: Log = { debug: note, info: note, warn: note, error: note, child: () => log }
  const clock = { now }
  const propose = async (command: Command) => {
    const decoded = decodeCommand(encodeCommand({ command, idempotencyKey: null }))
    return state.apply({ index: state.appliedIndex + 1, time: 1_000_000, command: decoded })
  }
  const tokens = new OperatorTokens({
    cluster: { state, propose },
    secret,
    clusterId: () => (formed ? clusterId : null),
    now: () => clock.now,
    log,
  })
  return { tokens, state, propose, lines, clock }
}

describe('a join token that an operator makes', () => {
  it('is one of this cluster that it believes, known as it was wanted, with nothing secret in state or log', async () => {
    const { tokens, state, lines } = makeTokens()
    const made = await tokens.create({ lifetimeMs: 60_000, uses: 2, note: 'rack 7' }, limits)
    expect(made).toEqual({ token: expect.any(String), id: expect.any(String), expiresAt: 1_060_000, usesMax: 2 })
    const parsed = parseJoinToken(made.token)
    expect(parsed).toMatchObject({ clusterId, id: made.id })
    expect(joinKeyOf(secret, parsed).verify(parsed.key.prove('t', []), 't', [])).toBe(true)
    expect(tokens.list()).toEqual([
      {
        id: made.id,
        createdAt: 1_000_000,
        expiresAt: 1_060_000,
        usesMax: 2,
        uses: 0,
        usedBy: [],
        status: 'usable',
        note: 'rack 7',
      },
    ])
    expect(lines).toEqual([{ event: 'join-token-created', id: made.id, expiresAt: 1_060_000, usesMax: 2 }])
    const key = made.token.split('.')[3] ?? ''
    for (const shown of [JSON.stringify(state.capture()), JSON.stringify(lines)]) expect(shown).not.toContain(key)
  })

  it('is none before the cluster has formed', async () => {
    const { tokens, state } = makeTokens({ formed: false })
    await expect(tokens.create({ lifetimeMs: 60_000, uses: 1, note: '' }, limits)).rejects.toMatchObject({
      code: 'no-leader',
      retry: 'after',
    })
    expect([state.appliedIndex, tokens.list()]).toEqual([0, []])
  })

  it('is refused with the reason that the cluster has', async () => {
    const { tokens } = makeTokens()
    const wanted = { lifetimeMs: 60_000, uses: 1, note: '' }
    for (let n = 0; n < joinTokensMax; n += 1) await tokens.create(wanted, limits)
    await expect(tokens.create(wanted, limits)).rejects.toMatchObject({
      code: 'change-refused',
      message: expect.stringContaining(`${joinTokensMax} join tokens have not expired`),
    })
    const slow = makeTokens({ now: 900_000 })
    await expect(slow.tokens.create(wanted, limits)).rejects.toMatchObject({ code: 'change-refused' })
  })

  it('is shown as what it is: usable, used up, expired or revoked; and all are counted', async () => {
    const { tokens, propose, clock } = makeTokens()
    const ids: string[] = []
    for (const [at, lifetimeMs] of [60_000, 60_000, 1000, 60_000, 60_000].entries()) {
      clock.now = 1_000_000 + at
      ids.push((await tokens.create({ lifetimeMs, uses: 2, note: '' }, limits)).id)
    }
    const [usable = '', usedUp = '', , revoked = '', half = ''] = ids
    for (const [id, node] of [
      [usedUp, 'n4'],
      [usedUp, 'n5'],
      [half, 'n6'],
    ] as const)
      await propose({ kind: 'token-use', id, node: node as NodeId })
    await tokens.revoke(revoked, limits)
    clock.now = 1_001_002
    expect(tokens.list().map(({ id, status, uses, usedBy }) => [id, status, uses, usedBy])).toEqual([
      [usable, 'usable', 0, []],
      [usedUp, 'used-up', 2, ['n4', 'n5']],
      [ids[2], 'expired', 0, []],
      [revoked, 'revoked', 0, []],
      [half, 'usable', 1, ['n6']],
    ])
    expect(tokens.sample()).toEqual({ statusNow: { usable: 2, expired: 1, 'used-up': 1, revoked: 1 }, usesNow: 3 })
  })

  it('that nobody made can not be revoked', async () => {
    const { tokens } = makeTokens()
    await expect(tokens.revoke('0'.repeat(16), limits)).rejects.toMatchObject({ code: 'not-found' })
  })
})
