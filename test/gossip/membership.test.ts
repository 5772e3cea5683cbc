import { describe, expect, it } from 'vitest'
import { digestBytesMax, membersMax } from '../../src/gossip/limits.ts'
import { isNewer } from '../../src/gossip/member.ts'
import { digestEntryBytes } from '../../src/gossip/messages.ts'
import type { Claim, MemberStatus } from '../../src/gossip/messages.ts'
import { Lab, claim, kinds, n } from './lab.ts'

describe('what is believed of a member', () => {
  it('is the same whatever the order in which claims are heard', () => {
    const statuses: readonly MemberStatus[] = ['alive', 'suspect', 'dead', 'left']
    const claims = statuses.flatMap((status) =>
      [1, 2].flatMap((generation) => [0, 1].map((incarnation) => claim(3, status, { generation, incarnation }))),
    )
    for (const a of claims) {
      expect(isNewer(a, a)).toBe(false)
      for (const b of claims) expect(isNewer(a, b) && isNewer(b, a)).toBe(false)
    }
    const sorted = claims.toSorted((a, b) => (isNewer(a, b) ? 1 : -1))
    const heard = (list: readonly Claim[]): string => {
      const lab = new Lab()
      for (const each of list) lab.hear(each)
      return lab.standing(3)
    }
    expect(heard(sorted)).toMatch(/^left 2\//)
    expect(heard(sorted.toReversed())).toMatch(/^left 2\//)
  })

  it('keeps the incarnation at which a member was found dead: nothing older revives it', () => {
    const lab = new Lab()
    lab.hear(claim(3, 'alive', { incarnation: 2 }))
    expect(kinds(lab.hear(claim(3, 'dead', { incarnation: 10 })))).toEqual(['dead n3'])
    expect(kinds(lab.hear(claim(3, 'alive', { incarnation: 10 })))).toEqual([])
    expect(lab.standing(3)).toBe('dead 1/10')
    expect(kinds(lab.hear(claim(3, 'alive', { incarnation: 11 })))).toEqual(['alive n3'])
  })

  it('keeps who is only heard of as dead, so that old news does not bring it in', () => {
    const lab = new Lab()
    lab.hear(claim(3, 'dead', { incarnation: 5 }))
    lab.hear(claim(3, 'alive', { incarnation: 5 }))
    expect(lab.standing(3)).toBe('dead 1/5')
  })

  it('is final for a generation once it has left, and a later generation takes its place', () => {
    const lab = new Lab()
    lab.know(3)
    expect(kinds(lab.hear(claim(3, 'left')))).toEqual(['left n3'])
    lab.hear(claim(3, 'alive', { incarnation: 9 }))
    expect(lab.standing(3)).toBe('left 1/0')
    expect(kinds(lab.hear(claim(3, 'alive', { generation: 2 })))).toEqual(['joined n3'])
    lab.hear(claim(3, 'dead', { incarnation: 99 }))
    expect(lab.standing(3)).toBe('alive 2/0')
  })

  it('is dead for a long time, then a grave that only a refutation opens', () => {
    const lab = new Lab({ reapTicks: 100 })
    lab.hear(claim(3, 'dead', { incarnation: 4 }))
    expect(kinds(lab.tick(101)).filter((kind) => kind.endsWith('n3'))).toEqual(['forgotten n3'])
    lab.hear(claim(3, 'alive', { incarnation: 4 }))
    expect(lab.standing(3)).toBe('unknown')
    lab.hear(claim(3, 'alive', { incarnation: 5 }))
    expect(lab.standing(3)).toBe('alive 1/5')
  })

  it('counts the age of a death from where it was found, so the dead do not live on in hearsay', () => {
    const lab = new Lab({ reapTicks: 100 })
    lab.hear(claim(3, 'dead', { age: 60 }), claim(4, 'dead', { age: 100 }))
    expect(lab.standing(4)).toBe('unknown')
    expect(kinds(lab.tick(41))).toContain('forgotten n3')
  })

  it('admits no more members than the limit', () => {
    const lab = new Lab()
    for (let node = 2; node <= membersMax + 2; node += 1)
      lab.receive(2, { kind: 'news' }, { claims: [claim(node, 'alive')] })
    expect(lab.gossip.members()).toHaveLength(membersMax)
    expect(lab.gossip.counters().membersRefused).toBe(1)
  })
})

describe('an accusation', () => {
  it('is refuted by a higher incarnation, which is passed on', () => {
    const lab = new Lab()
    lab.know(2)
    const { status } = lab.hear(claim(1, 'suspect', { incarnation: 3 }))
    expect(status).toMatchObject({ incarnation: 4, health: 1 })
    expect(lab.until('news').claims).toContainEqual(
      expect.objectContaining({ node: n(1), incarnation: 4, status: 'alive' }),
    )
  })

  it('of an earlier incarnation is nothing to refute', () => {
    const lab = new Lab()
    lab.hear(claim(1, 'dead', { incarnation: 3 }))
    lab.hear(claim(1, 'suspect', { incarnation: 3 }))
    expect(lab.gossip.status()).toMatchObject({ incarnation: 4, health: 1 })
  })

  it.each(['suspect', 'dead'] as const)('of being %s is told to the accused with every message', (status) => {
    const lab = new Lab()
    lab.know(3)
    lab.hear(claim(3, status, { incarnation: 2 }))
    for (let count = 0; count < 20; count += 1) {
      const { send } = lab.receive(3, { kind: 'ping', seq: count })
      expect(send).toMatchObject([{ kind: 'ack', to: n(3) }])
      expect(send[0]?.claims[0]).toMatchObject({ node: n(3), status, incarnation: 2 })
    }
  })

  it('of someone who was reaped is told to it too, so that it can come back', () => {
    const lab = new Lab({ reapTicks: 10 })
    lab.hear(claim(3, 'dead', { incarnation: 2 }))
    lab.tick(11)
    const { send } = lab.receive(3, { kind: 'ping', seq: 1 })
    expect(send[0]?.claims[0]).toMatchObject({ node: n(3), status: 'dead', incarnation: 2 })
    lab.receive(3, { kind: 'news' }, { incarnation: 3 })
    expect(lab.standing(3)).toBe('alive 1/3')
  })

  it('in an exchange is a suspicion only: who was cut off can refute before it is dead here', () => {
    const lab = new Lab()
    lab.know(3)
    lab.receive(2, { kind: 'exchange-response', members: [claim(3, 'dead')] })
    expect(lab.standing(3)).toBe('suspect 1/0')
    lab.receive(3, { kind: 'news' }, { incarnation: 1 })
    expect(lab.standing(3)).toBe('alive 1/1')
  })

  it('of an earlier life makes this one known', () => {
    const lab = new Lab({ generation: 5 })
    lab.know(2)
    lab.tick(50)
    lab.hear(claim(1, 'dead', { generation: 4, incarnation: 7 }))
    expect(lab.gossip.status().incarnation).toBe(0)
    expect(lab.until('news').claims).toContainEqual(
      expect.objectContaining({ node: n(1), generation: 5, status: 'alive' }),
    )
  })
})

describe('a suspicion', () => {
  const deadAfter = (lab: Lab): number => {
    for (let tick = 1; tick < 2000; tick += 1) if (kinds(lab.tick()).includes('dead n3')) return tick
    return Infinity
  }

  it('by one member alone lasts six times as long as one that two others confirm', () => {
    const alone = new Lab()
    alone.know(6)
    alone.hear(claim(3, 'suspect', { by: 4 }))
    expect(deadAfter(alone)).toBe(240)
    const confirmed = new Lab()
    confirmed.know(6)
    for (const by of [4, 5, 6]) confirmed.hear(claim(3, 'suspect', { by }))
    expect(deadAfter(confirmed)).toBe(40)
  })

  it('is not shortened by the same accuser twice', () => {
    const lab = new Lab()
    lab.know(6)
    for (let count = 0; count < 9; count += 1) lab.hear(claim(3, 'suspect', { by: 4 }))
    expect(deadAfter(lab)).toBe(240)
  })

  it('is as short as can be where nobody else could confirm it', () => {
    const lab = new Lab()
    lab.know(3)
    lab.hear(claim(3, 'suspect', { by: 2 }))
    expect(deadAfter(lab)).toBe(40)
  })
})

describe('leaving', () => {
  it('is told to the others, then this node is silent', () => {
    const lab = new Lab()
    lab.know(3)
    lab.step({ kind: 'leave' })
    const { send } = lab.tick(60)
    expect(
      send.filter(({ claims }) => claims.some(({ node, status }) => node === n(1) && status === 'left')),
    ).not.toEqual([])
    expect(lab.gossip.status().phase).toBe('left')
    expect(lab.tick(100).send).toEqual([])
  })

  it('of a node that an operator removed is told to it, and it knows', () => {
    const lab = new Lab()
    lab.know(3)
    lab.step({ kind: 'remove', node: n(3) })
    expect(lab.standing(3)).toBe('left 1/0')
    expect(lab.receive(3, { kind: 'ping', seq: 1 }).send[0]?.claims[0]).toMatchObject({ node: n(3), status: 'left' })
    expect(lab.hear(claim(1, 'left')).status?.phase).toBe('removed')
  })

  it('makes room for a later start of the same node, which is told to an earlier one', () => {
    const lab = new Lab()
    expect(lab.hear(claim(1, 'alive', { generation: 2 })).status?.phase).toBe('superseded')
    const other = new Lab()
    other.receive(3, { kind: 'news' }, { generation: 7 })
    const { send } = other.receive(3, { kind: 'exchange-request', members: [] }, { generation: 6 })
    expect(other.standing(3)).toBe('alive 7/0')
    expect(send).toMatchObject([{ kind: 'news', to: n(3), claims: [{ node: n(3), generation: 7 }] }])
  })
})

describe('what is not well formed', () => {
  it('is dropped whole and counted', () => {
    const lab = new Lab()
    const bad = [
      claim(3, 'dead', { incarnation: -1 }),
      claim(3, 'dead', { incarnation: 2 ** 60 }),
      claim(3, 'dead', { generation: 1.5 }),
      { ...claim(3, 'dead'), address: 'x'.repeat(300) },
      { ...claim(3, 'dead'), node: 'a b' as never },
    ]
    for (const each of bad) lab.receive(3, { kind: 'news' }, { claims: [each] })
    expect(lab.gossip.members()).toEqual([])
    expect(lab.gossip.counters().messagesRefused).toBe(bad.length)
  })
  it('is a digest whose answer would not fit one message, be it of one owner again and again', () => {
    const lab = new Lab()
    lab.know(2)
    for (const key of ['a', 'b', 'c', 'd']) lab.step({ kind: 'set-state', key, value: 'x'.repeat(1000) })
    const entry = { owner: n(2), generation: 1, state: 1, gauges: 0 }
    const digest = [{ ...entry, owner: n(1), state: 0 }, ...Array.from({ length: 2600 }, () => entry)]
    expect(lab.receive(2, { kind: 'digest-request', digest }).send).toEqual([])
    expect(lab.receive(2, { kind: 'digest-response', digest, deltas: [] }).send).toEqual([])
    expect(lab.gossip.counters().messagesRefused).toBe(2)
    const most = digest.slice(0, Math.floor(digestBytesMax / digestEntryBytes(entry)))
    expect(lab.receive(2, { kind: 'digest-request', digest: most }).send).toHaveLength(1)
  })
})
