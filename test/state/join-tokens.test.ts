import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Command, CommandResult, JoinToken } from '../../src/state/command.ts'
import { decodeSnapshot, encodeSnapshot } from '../../src/state/snapshot.ts'
import { ClusterState } from '../../src/state/state.ts'
import type { NodeId } from '../../src/vocabulary/ids.ts'
import {
  joinTokenKnownForMs,
  joinTokenLifetimeMaxMs,
  joinTokensKnownMax,
  joinTokensMax,
} from '../../src/vocabulary/join-token-limits.ts'

const [n1, n2, n3] = ['n1', 'n2', 'n3'] as [NodeId, NodeId, NodeId]
const id = (n: number): string => n.toString(16).padStart(16, '0')
const done = expect.objectContaining({ kind: 'done' }) as CommandResult

/** Log time is what `at` says. */
class Fed extends ClusterState {
  at = 1_000_000

  feed(command: Command): CommandResult {
    return this.apply({ index: this.appliedIndex + 1, time: this.at, command: { command, idempotencyKey: null } })
  }

  make(n: number, changed: Partial<JoinToken> = {}): CommandResult {
    const made = { id: id(n), createdAt: this.at, expiresAt: this.at + 60_000, usesMax: 1, note: '' }
    return this.feed({ kind: 'token-set', token: { ...made, usedBy: [], isRevoked: false, ...changed } })
  }

  use(n: number, node: NodeId): CommandResult {
    return this.feed({ kind: 'token-use', id: id(n), node })
  }

  revoke(n: number): CommandResult {
    return this.feed({ kind: 'token-revoke', id: id(n) })
  }

  ids(): string[] {
    return this.tokens().map((token) => token.id)
  }
}

const refusedFor = (reason: unknown): unknown => ({ kind: 'refused', reason })
const refusedSaying = (part: string): unknown => refusedFor(expect.stringContaining(part))

describe('a join token', () => {
  it('lets in as many nodes as it was made for, each as often as it comes, and no other', () => {
    const state = new Fed()
    expect(state.make(1, { usesMax: 2, note: 'two more' })).toEqual({ kind: 'done', revision: 1 })
    for (const node of [n1, n1, n2, n1, n2]) expect(state.use(1, node)).toEqual(done)
    expect(state.use(1, n3)).toEqual(refusedFor('used-up'))
    expect(state.token(id(1))).toMatchObject({ usedBy: [n1, n2], usesMax: 2, note: 'two more' })
  })

  it('lets in until the millisecond before its expiry in log time, and then not even who was let in before', () => {
    const state = new Fed()
    state.make(1, { usesMax: 9 })
    state.at += 59_999
    expect(state.use(1, n1)).toEqual(done)
    state.at += 1
    for (const node of [n1, n2]) expect(state.use(1, node)).toEqual(refusedFor('expired'))
    state.at -= 1000
    expect(state.use(1, n2)).toEqual(refusedFor('expired'))
  })

  it('that is revoked lets nobody in, who was let in before among them; revoking it again is done', () => {
    const state = new Fed()
    state.make(1, { usesMax: 9 })
    state.use(1, n1)
    expect([state.revoke(1), state.revoke(1)]).toEqual([done, done])
    for (const node of [n1, n2]) expect(state.use(1, node)).toEqual(refusedFor('revoked'))
    expect(state.token(id(1))).toMatchObject({ isRevoked: true, usedBy: [n1] })
  })

  it('that nobody made lets nobody in, and can not be revoked', () => {
    const state = new Fed()
    expect(state.use(1, n1)).toEqual(refusedFor('unknown'))
    expect(state.revoke(1)).toEqual({ kind: 'not-found' })
  })

  it('is known for a day of log time after its expiry, whatever entry ends that', () => {
    const state = new Fed()
    state.make(1)
    state.at += 60_000 + joinTokenKnownForMs - 1
    expect(state.use(1, n1)).toEqual(refusedFor('expired'))
    state.takeChange()
    state.apply({ index: state.appliedIndex + 1, time: state.at + 1, command: null })
    expect(state.takeChange().tokens).toBe(true)
    expect(state.tokens()).toEqual([])
    expect(state.use(1, n1)).toEqual(refusedFor('unknown'))
  })

  it('is refused for an id that exists, though that one is over', () => {
    const state = new Fed()
    state.make(1)
    state.revoke(1)
    state.at += 60_000
    expect(state.make(1)).toEqual(refusedSaying('exists already'))
  })

  it('is refused when it has expired as it becomes known, or is to last longer than any may by the log', () => {
    const state = new Fed()
    expect(state.make(1, { createdAt: 0, expiresAt: state.at })).toEqual(refusedSaying('have expired'))
    expect(state.make(1, { createdAt: 0, expiresAt: state.at + 1 })).toEqual(done)
    const createdAt = state.at + 60_000
    const expiresAt = createdAt + joinTokenLifetimeMaxMs
    expect(state.make(2, { createdAt: createdAt + 1, expiresAt: expiresAt + 1 })).toEqual(refusedSaying('a clock'))
    expect(state.make(2, { createdAt, expiresAt })).toEqual(done)
  })

  it('is refused while as many have not expired as there may be, and made room for by the next expiry', () => {
    const state = new Fed()
    for (let n = 0; n < joinTokensMax; n += 1) expect(state.make(n, { expiresAt: state.at + 1000 + n })).toEqual(done)
    state.revoke(5)
    expect(state.make(joinTokensMax)).toEqual(refusedSaying(`${joinTokensMax} join tokens`))
    state.at += 1000
    expect(state.make(joinTokensMax)).toEqual(done)
    expect(state.make(joinTokensMax + 1)).toEqual(refusedSaying(`${joinTokensMax} join tokens`))
  })

  it('makes the one forgotten that has been over for longest when more are known than may be', () => {
    const state = new Fed()
    for (let n = 0; n < joinTokensKnownMax; n += 1) {
      state.make(n, { createdAt: state.at, expiresAt: state.at + 1000 })
      state.at += 10
    }
    expect(state.tokens()).toHaveLength(joinTokensKnownMax)
    expect(state.make(joinTokensKnownMax)).toEqual(done)
    expect(state.ids().slice(0, 2)).toEqual([id(1), id(2)])
    expect(state.tokens()).toHaveLength(joinTokensKnownMax)
  })

  it('stands in the list by its creation, then its id, and each change of one is told, nothing else', () => {
    const state = new Fed()
    state.takeChange()
    const told: boolean[] = []
    const tell = (result: CommandResult): void => {
      const change = state.takeChange()
      expect([result.kind, change.catalog, change.members]).toEqual([expect.any(String), false, false])
      told.push(change.tokens)
    }
    tell(state.make(3, { createdAt: 5 }))
    tell(state.make(1, { createdAt: 7 }))
    tell(state.make(2, { createdAt: 5 }))
    expect(state.ids()).toEqual([id(2), id(3), id(1)])
    tell(state.use(3, n1))
    tell(state.use(3, n1))
    tell(state.use(3, n2))
    tell(state.revoke(3))
    tell(state.revoke(3))
    expect(told).toEqual([true, true, true, true, false, false, true, false])
    expect(state.ids()).toEqual([id(2), id(3), id(1)])
  })

  it('is the same for a reader that holds it, whatever becomes of it', () => {
    const state = new Fed()
    state.make(1)
    const held = state.tokens()
    const before = structuredClone(held)
    state.use(1, n1)
    state.revoke(1)
    expect(held).toEqual(before)
  })

  it('lets in at most as many as it was made for, in any order of any entries, restored from a snapshot between or not', () => {
    const step = fc.record({
      kind: fc.constantFrom('make', 'use', 'revoke', 'restore'),
      n: fc.nat({ max: 2 }),
      node: fc.constantFrom(n1, n2, n3),
      laterMs: fc.constantFrom(0, 1, 20_000, 60_000, joinTokenKnownForMs),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        let [state, whole] = [new Fed(), new Fed()]
        const letIn = new Map<string, Set<NodeId>>()
        for (const { kind, n, node, laterMs } of steps) {
          if (kind === 'restore') {
            const image = decodeSnapshot(new Uint8Array(Buffer.concat([...encodeSnapshot(state.capture())])))
            if ('malformed' in image) throw new Error(image.malformed)
            state = Object.assign(new Fed(), { at: state.at })
            state.restore(image)
            continue
          }
          const results = [state, whole].map((each) => {
            each.at += laterMs
            if (kind === 'make') return each.make(n, { usesMax: 2 })
            return kind === 'use' ? each.use(n, node) : each.revoke(n)
          })
          expect(results[0]).toEqual(results[1])
          if (kind === 'make' && results[0]?.kind === 'done') letIn.set(id(n), new Set())
          if (kind === 'use' && results[0]?.kind === 'done') letIn.get(id(n))?.add(node)
        }
        for (const nodes of letIn.values()) expect(nodes.size).toBeLessThanOrEqual(2)
        for (const token of state.tokens()) expect(new Set(token.usedBy)).toEqual(letIn.get(token.id))
        expect([state.tokens(), state.digest()]).toEqual([whole.tokens(), whole.digest()])
      }),
      { numRuns: 300 },
    )
  })
})

describe('what operators want of a node', () => {
  const memberSet = (node: NodeId, generation = 1): Command => ({
    kind: 'member-set',
    member: { node, generation, addresses: { http: '', peer: '', raft: '' }, labels: {}, version: '', startedAt: 0 },
  })
  const want = (node: NodeId, drain: 'drain' | 'leave' | null): Command => ({ kind: 'member-drain', node, drain })

  it('is known, may be another, and may be taken back; members and catalog are told of each change', () => {
    const state = new Fed()
    for (const node of [n1, n2]) state.feed(memberSet(node))
    const told = ([null, 'drain', 'drain', 'leave', null] as const).map((drain) => {
      const [version, held] = [state.catalogVersion, state.drains()]
      const before = new Map(held)
      state.takeChange()
      expect(state.feed(want(n1, drain))).toEqual(done)
      expect(held).toEqual(before)
      const { members, catalog, tokens } = state.takeChange()
      return [state.drains().get(n1), members, catalog, tokens, state.catalogVersion > version]
    })
    expect(told).toEqual([
      [undefined, false, false, false, false],
      ['drain', true, true, false, true],
      ['drain', false, false, false, false],
      ['leave', true, true, false, true],
      [undefined, true, true, false, true],
    ])
  })

  it('is nothing of a node that is not in the directory', () => {
    const state = new Fed()
    expect(state.feed(want(n1, 'drain'))).toEqual({ kind: 'not-found' })
    expect(state.drains()).toEqual(new Map())
  })

  it('stays through a restart of the node and goes with its place in the directory', () => {
    const state = new Fed()
    for (const node of [n1, n2]) {
      state.feed(memberSet(node))
      state.feed(want(node, 'leave'))
    }
    state.feed(memberSet(n1, 2))
    state.feed({ kind: 'member-delete', node: n1, generation: 1 })
    expect([...state.drains().keys()]).toEqual([n1, n2])
    state.feed({ kind: 'member-delete', node: n1, generation: 2 })
    expect(state.drains()).toEqual(new Map([[n2, 'leave']]))
    state.feed(memberSet(n1, 3))
    expect(state.drains().has(n1)).toBe(false)
  })
})
