import * as fc from 'fast-check'
import { asJsonText } from '../../src/std/json-text.ts'
import type { JsonText } from '../../src/std/json-text.ts'
import type { NodeId, ServerName, SessionId } from '../../src/vocabulary/ids.ts'
import { isolations } from '../../src/vocabulary/isolation.ts'
import { logLevels } from '../../src/vocabulary/log-level.ts'
import type { Command, Drain, Envelope, JoinToken, Member, Replica, SessionOpening } from '../../src/state/command.ts'
import { ClusterState } from '../../src/state/state.ts'

/** Commands as they come: few keys, nodes and servers, so that they meet; text of every kind in the places that take it. */
const anyText = fc.string({ unit: 'binary', maxLength: 20 })
const key = fc.oneof(
  fc.constantFrom('a', 'a/b', 'a/c', 'b', 'ab', '\u{1F600}', '\uFF21', '\uFEFFx', 'é'),
  anyText.filter((text) => text !== ''),
)
const json: fc.Arbitrary<JsonText> = fc
  .oneof(fc.json(), fc.constantFrom('1e400', ' {"b":1,"b":2}\n', '"\\u0000"'))
  .map(asJsonText)
const expectation = fc.oneof(fc.constant(null), fc.nat({ max: 30 }))
const node = fc.constantFrom('n1', 'n2', 'n3').map((id) => id as NodeId)
const server = fc.constantFrom('files', 'sql').map((name) => name as ServerName)
const generation = fc.integer({ min: 1, max: 3 })

const member: fc.Arbitrary<Member> = fc.record({
  node,
  generation,
  addresses: fc.record({ http: anyText, peer: anyText, raft: anyText }),
  labels: fc.dictionary(anyText, anyText, { maxKeys: 4, noNullPrototype: true }),
  version: fc.constantFrom('0.1.0', '0.2.0'),
  startedAt: fc.nat(),
})

const replica: fc.Arbitrary<Replica> = fc.record({
  node,
  generation,
  server,
  transport: fc.constantFrom('stdio', 'http'),
  status: fc.constantFrom('starting', 'ready', 'failed'),
  reason: anyText,
  priority: fc.integer(),
  offer: fc.oneof(
    fc.constant(null),
    fc.record({ initialize: json, tools: json, resources: json, resourceTemplates: json, prompts: json }),
  ),
  isolation: fc.constantFrom(...isolations),
  whenUnavailable: fc.constantFrom('keep', 'hide'),
  groups: fc.constantFrom([], ['a'], ['a', 'b']),
})

const tokenId = fc.constantFrom('0000000000000000', '00000000000000ff', 'ffffffffffffffff')
const token: fc.Arbitrary<JoinToken> = fc
  .record({
    id: tokenId,
    createdAt: fc.nat({ max: 10_000_000 }),
    lifetimeMs: fc.integer({ min: 1000, max: 604_800_000 }),
    usesMax: fc.integer({ min: 1, max: 3 }),
    usedBy: fc.constant([]),
    isRevoked: fc.constant(false),
    note: anyText,
  })
  .map(({ lifetimeMs, ...rest }) => ({ ...rest, expiresAt: rest.createdAt + lifetimeMs }))

const sessionId = fc.constantFrom(...([0, 1, 2].map(sessionIdOf) as [SessionId, SessionId, SessionId]))
const session: fc.Arbitrary<SessionOpening> = fc.record({
  id: sessionId,
  path: fc.constantFrom('/mcp', '/mcp/files', '/mcp/group/a'),
  transport: fc.constantFrom('streamable-http', 'sse'),
  protocolVersion: fc.constantFrom('2024-11-05', '2025-11-25'),
  clientInfo: json,
  capabilities: json,
  idleMs: fc.constantFrom(1000, 3_600_000, 7_200_000),
})
const subscription = { id: sessionId, server, uri: anyText.filter((text) => text !== '') }

const sessionCommand: fc.Arbitrary<Command> = fc.oneof(
  { arbitrary: fc.record({ kind: fc.constant('session-open'), session }), weight: 3 },
  fc.record({ kind: fc.constant('session-close'), id: sessionId }),
  fc.record({ kind: fc.constant('session-touch'), ids: fc.uniqueArray(sessionId) }),
  fc.record({ kind: fc.constant('session-level'), id: sessionId, level: fc.constantFrom(...logLevels) }),
  fc.record({ kind: fc.constant('session-subscribe'), ...subscription }),
  fc.record({ kind: fc.constant('session-unsubscribe'), ...subscription }),
  fc.record({ kind: fc.constant('session-pin'), id: sessionId, server, node }),
)

const anyCommand: fc.Arbitrary<Command> = fc.oneof(
  fc.record({ kind: fc.constant('kv-set'), key, value: json, expect: expectation }),
  fc.record({ kind: fc.constant('kv-delete'), key, expect: expectation }),
  fc.record({ kind: fc.constant('member-set'), member }),
  fc.record({ kind: fc.constant('replica-set'), replica }),
  fc.record({ kind: fc.constant('replica-delete'), node, generation, server }),
  fc.record({ kind: fc.constant('member-delete'), node, generation }),
  fc.record({
    kind: fc.constant('state-digest'),
    node,
    index: fc.constantFrom(0, 4095, 4096, 8192, 12_288),
    digest: fc.constantFrom('0123456789abcdef', 'ffffffffffffffff'),
  }),
  fc.record({ kind: fc.constant('token-set'), token }),
  fc.record({ kind: fc.constant('token-use'), id: tokenId, node }),
  fc.record({ kind: fc.constant('token-revoke'), id: tokenId }),
  fc.record({
    kind: fc.constant('member-drain'),
    node,
    drain: fc.constantFrom<(Drain | null)[]>('drain', 'leave', null),
  }),
  { arbitrary: sessionCommand, weight: 5 },
)

/** Few idempotency keys, so that they meet. */
const idempotencyKey = fc.oneof(fc.constant(null), fc.constantFrom('k1', 'k2', '~!"{}'))

export const anyEnvelope: fc.Arbitrary<Envelope> = fc.record({ command: anyCommand, idempotencyKey })

/** Entries of a log: what is applied (null: one of Raft's own), and how far log time has gone on, at times by a day. */
export const anyLog = (maxLength = 60): fc.Arbitrary<readonly { envelope: Envelope | null; laterMs: number }[]> =>
  fc.array(
    fc.record({
      envelope: fc.option(anyEnvelope, { freq: 10 }),
      laterMs: fc.oneof(fc.nat({ max: 5 }), fc.constantFrom(3_600_000, 86_400_000, 86_399_999)),
    }),
    { maxLength },
  )

/** The n-th of ids that look alike. */
export function sessionIdOf(n: number): SessionId {
  return `00000000-0000-4000-8000-${n.toString(16).padStart(12, '0')}` as SessionId
}

/** A state with nothing in it at that index, as a snapshot makes one. */
export function stateAt(appliedIndex: number): ClusterState {
  const state = new ClusterState()
  state.restore({ ...state.capture(), appliedIndex })
  state.takeChange()
  return state
}
