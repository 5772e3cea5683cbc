import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Entry } from '../../src/raft/entry.ts'
import type { Message, MessageBody, ProposalContent } from '../../src/raft/messages.ts'
import type { NodeId, ProposalId } from '../../src/vocabulary/ids.ts'
import { Lab } from './lab.ts'

const strange = [-1, 0.5, Number.NaN, Infinity, 2 ** 53, 0]
const count = fc.oneof({ weight: 8, arbitrary: fc.nat(6) }, { weight: 1, arbitrary: fc.constantFrom(...strange) })
const id = fc.constantFrom('' as ProposalId, 'a' as ProposalId, 'b' as ProposalId)
const bytes = fc.uint8Array({ maxLength: 4 })
const entry: fc.Arbitrary<Entry> = fc.record({
  index: count,
  term: count,
  kind: fc.constantFrom('noop', 'command', 'configuration'),
  id,
  time: count,
  data: bytes,
})
const kind = <K extends string>(name: K): fc.Arbitrary<K> => fc.constant(name)
const granted = fc.boolean()
const why = fc.constantFrom('no-leader', 'not-leader', 'overloaded', 'too-large', 'overwritten')
const change = fc.record({
  kind: fc.constantFrom('add-learner', 'promote', 'remove'),
  node: fc.constantFrom('n1', 'n3', 'n9', ''),
  promote: fc.boolean(),
})
const content = fc.oneof(
  fc.record({ kind: kind('command'), data: bytes }),
  fc.record({ kind: kind('change'), change }),
) as fc.Arbitrary<ProposalContent>
const body: fc.Arbitrary<MessageBody> = fc.oneof(
  fc.record({ kind: kind('pre-vote-request'), lastIndex: count, lastTerm: count }),
  fc.record({ kind: kind('vote-request'), lastIndex: count, lastTerm: count, transfer: fc.boolean() }),
  fc.record({ kind: kind('pre-vote-response'), granted }),
  fc.record({ kind: kind('vote-response'), granted }),
  // Index 1 is every founder's same entry: an append that replaces it would break an invariant, and is none of these.
  fc.record({
    kind: kind('append-request'),
    prevIndex: count.filter((index) => index !== 0),
    prevTerm: count,
    entries: fc.array(entry, { maxLength: 3 }),
    commit: fc.constantFrom(0, 1, ...strange),
  }),
  fc.record({ kind: kind('append-accepted'), match: count.filter((index) => index < 1 || index > 4) }),
  fc.record({ kind: kind('append-rejected'), prevIndex: count, hintIndex: count, hintTerm: count }),
  fc.record({
    kind: kind('heartbeat-request'),
    commit: fc.constantFrom(0, 1, 1_000, ...strange),
    read: count,
    match: count,
  }),
  fc.record({ kind: kind('heartbeat-response'), read: count, isDiskFull: fc.boolean() }),
  fc.record({ kind: kind('propose'), id, content }),
  fc.record({ kind: kind('propose-accepted'), id, index: count }),
  fc.record({ kind: kind('propose-refused'), id, why }),
  fc.record({ kind: kind('read-request'), id: count }),
  fc.record({ kind: kind('read-response'), id: count, index: count }),
  fc.record({ kind: kind('read-refused'), id: count }),
  fc.record({ kind: kind('snapshot-installed'), index: count.filter((index) => index < 1 || index > 4) }),
  fc.record({ kind: kind('timeout-now') }),
  fc.record({ kind: kind('recovery-request'), nonce: count }),
  fc.record({ kind: kind('recovery-response'), nonce: count, index: count }),
)
const ids = ['n1', 'n2', 'n3', 'n9'] as NodeId[]
const head = fc.record({ from: fc.constantFrom(...ids), to: fc.constantFrom(...ids), term: count })

describe('foreign input', () => {
  it('never makes a node throw, in whatever role it is met, and its state stays sound', () => {
    const messages = fc.array(fc.tuple(head, body), { minLength: 1, maxLength: 30 })
    fc.assert(
      fc.property(messages, fc.constantFrom('follower', 'candidate', 'leader'), (parts, role) => {
        const lab = new Lab({ size: 3, limits: { appendBytesMax: 100 } }).startAll()
        if (role === 'leader') lab.elect('n1')
        if (role === 'candidate') lab.campaign('n1')
        for (const [head, body] of parts) {
          const before = lab.raft('n1').status()
          lab.step('n1', { kind: 'message', message: { ...body, ...head } as Message })
          lab.persistAll('n1')
          const { term, commitIndex, lastIndex } = lab.raft('n1').status()
          expect(Number.isSafeInteger(term) && term >= before.term).toBe(true)
          expect(commitIndex).toBeGreaterThanOrEqual(before.commitIndex)
          expect(lastIndex).toBeGreaterThanOrEqual(commitIndex)
        }
      }),
      { numRuns: 500 },
    )
  })
})
