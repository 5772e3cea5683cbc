import * as fc from 'fast-check'
import { asJsonText } from '../../src/std/json-text.ts'
import type { Outcome } from '../../src/calls/call.ts'
import type { Claim, Delta, GossipBody, GossipMessage } from '../../src/gossip/messages.ts'
import type { Configuration, ConfigurationChange } from '../../src/raft/configuration.ts'
import { entryKinds } from '../../src/raft/entry.ts'
import type { Message, ProposalContent, RefusalReason } from '../../src/raft/messages.ts'
import type {
  CallId,
  ClusterId,
  NodeId,
  ProposalId,
  QuestionId,
  ServerName,
  SessionId,
} from '../../src/vocabulary/ids.ts'
import { errorCodes, OperatingError } from '../../src/vocabulary/operating-error.ts'
import type { CallMessage } from '../../src/wire/call-codec.ts'
import type { FormingMessage } from '../../src/wire/forming.ts'
import { snapshotBytesMax } from '../../src/wire/limits.ts'
import type { MailMessage } from '../../src/wire/mail-codec.ts'
import type { SnapshotMessage } from '../../src/wire/snapshot-codec.ts'
import type { HandMessage } from '../../src/wire/hand-codec.ts'
import type { SaidWord } from '../../src/wire/word-codec.ts'

/** Every message that nodes send each other once they know each other, at random. */

export const envelope = { from: 'n1' as NodeId, to: 'n2' as NodeId }

const word = (max: number) => fc.stringMatching(new RegExp(`^[A-Za-z0-9._-]{1,${max}}$`))
const nodeId = word(64).map((text) => text as NodeId)
const proposalId = word(64).map((text) => text as ProposalId)
const callId = word(64).map((text) => text as CallId)
const serverName = fc.stringMatching(/^[a-z0-9-]{1,40}$/).map((name) => `s${name}` as ServerName)
const sessionId = fc.uuid().map((text) => text as SessionId)
const clusterId = fc.uuid().map((text) => text as ClusterId)
const index = fc.oneof(fc.nat(300), fc.maxSafeNat())
const bytes = fc.uint8Array({ maxLength: 300 })
const json = fc.json().map(asJsonText)
const text = fc.string({ unit: 'grapheme', maxLength: 60 })

const appendRequest = fc
  .record({
    prevIndex: fc.oneof(fc.nat(1000), fc.nat(2 ** 40)),
    prevTerm: fc.nat(100),
    commit: index,
    items: fc.array(
      fc.record({
        rise: fc.nat(2),
        kind: fc.constantFrom(...entryKinds),
        id: fc.oneof(fc.constant('' as ProposalId), proposalId),
        time: index,
        data: bytes,
      }),
      { maxLength: 20 },
    ),
  })
  .map(({ prevIndex, prevTerm, commit, items }): Message => {
    let term = prevTerm
    const entries = items.map(({ rise, kind, id, time, data }, at) => {
      term += rise
      return { index: prevIndex + 1 + at, term, kind, id, time, data }
    })
    return { ...envelope, term, kind: 'append-request', prevIndex, prevTerm, commit, entries }
  })

const change: fc.Arbitrary<ConfigurationChange> = fc.oneof(
  fc.record({ kind: fc.constant('add-learner' as const), node: nodeId, promote: fc.boolean() }),
  fc.record({ kind: fc.constantFrom('promote' as const, 'remove' as const), node: nodeId }),
)
const content: fc.Arbitrary<ProposalContent> = fc.oneof(
  bytes.map((data) => ({ kind: 'command' as const, data })),
  change.map((each) => ({ kind: 'change' as const, change: each })),
)
const refusalReasons: RefusalReason[] = [
  'no-leader',
  'not-leader',
  'transferring',
  'overloaded',
  'too-large',
  'disk-full',
  'change-under-way',
  'change-refused',
  'overwritten',
]

const shortMessage = fc
  .record({
    term: index,
    body: fc.oneof(
      fc.record({ kind: fc.constant('pre-vote-request'), lastIndex: index, lastTerm: index }),
      fc.record({ kind: fc.constant('vote-request'), lastIndex: index, lastTerm: index, transfer: fc.boolean() }),
      fc.record({ kind: fc.constantFrom('pre-vote-response', 'vote-response'), granted: fc.boolean() }),
      fc.record({ kind: fc.constant('append-accepted'), match: index }),
      fc.record({ kind: fc.constant('append-rejected'), prevIndex: index, hintIndex: index, hintTerm: index }),
      fc.record({ kind: fc.constant('heartbeat-request'), commit: index, read: index, match: index }),
      fc.record({ kind: fc.constant('heartbeat-response'), read: index, isDiskFull: fc.boolean() }),
      fc.record({ kind: fc.constant('propose'), id: proposalId, content }),
      fc.record({ kind: fc.constant('propose-accepted'), id: proposalId, index }),
      fc.record({
        kind: fc.constant('propose-refused'),
        id: proposalId,
        why: fc.constantFrom(...refusalReasons),
      }),
      fc.record({ kind: fc.constantFrom('read-request', 'read-refused'), id: index }),
      fc.record({ kind: fc.constant('read-response'), id: index, index }),
      fc.record({ kind: fc.constant('snapshot-installed'), index }),
      fc.record({ kind: fc.constant('timeout-now') }),
      fc.record({ kind: fc.constant('recovery-request'), nonce: index }),
      fc.record({ kind: fc.constant('recovery-response'), nonce: index, index }),
    ),
  })
  .map(({ term, body }) => ({ ...envelope, term, ...body }))

export const raftMessage: fc.Arbitrary<Message> = fc.oneof(appendRequest, shortMessage)

const ids = (minLength: number) => fc.uniqueArray(nodeId, { minLength, maxLength: 7 }).map((all) => all.sort())
const configuration: fc.Arbitrary<Configuration> = fc
  .record({ clusterId, voters: ids(1), votersOutgoing: ids(0), learners: ids(0), promotes: fc.array(fc.boolean()) })
  .map(({ promotes, learners: any, ...rest }) => {
    const learners = any.filter((id) => !rest.voters.includes(id) && !rest.votersOutgoing.includes(id))
    return { ...rest, learners, promotable: learners.filter((_, at) => promotes[at] ?? false) }
  })
const transfer = fc.maxSafeNat()
const size = fc.nat(snapshotBytesMax)

export const snapshotMessage: fc.Arbitrary<SnapshotMessage> = fc.oneof(
  fc
    .record({
      kind: fc.constant('snapshot-offer' as const),
      transfer,
      rise: fc.nat(1000),
      snapshot: fc.record({ index: fc.nat(2 ** 40), term: fc.nat(1000), time: index, configuration }),
      size: fc.integer({ min: 1, max: snapshotBytesMax }),
    })
    .map(({ rise, snapshot, ...rest }) => ({
      ...rest,
      term: snapshot.term + 1 + rise,
      snapshot: { ...snapshot, index: snapshot.index + 1, term: snapshot.term + 1 },
    })),
  fc.record({ kind: fc.constant('snapshot-resume' as const), transfer, offset: size }),
  fc.record({
    kind: fc.constant('snapshot-chunk' as const),
    transfer,
    offset: size,
    bytes: fc.uint8Array({ minLength: 1, maxLength: 300 }),
  }),
  fc.record({ kind: fc.constant('snapshot-end' as const), transfer }),
  fc.record({ kind: fc.constant('snapshot-refuse' as const), transfer, why: text }),
)

export const formingMessage: fc.Arbitrary<FormingMessage> = fc.oneof(
  fc.record({
    kind: fc.constant('form-propose' as const),
    clusterId,
    voters: fc.uniqueArray(nodeId, { minLength: 1, maxLength: 7 }).map((ids) => ids.sort()),
  }),
  fc.record({ kind: fc.constantFrom('form-promised' as const, 'formed' as const), clusterId }),
  fc.record({ kind: fc.constant('form-refused' as const), why: text }),
)

const claim: fc.Arbitrary<Claim> = fc.record({
  node: nodeId,
  generation: index,
  incarnation: index,
  status: fc.constantFrom('alive', 'suspect', 'dead', 'left'),
  address: text,
  by: nodeId,
  age: index,
})
const digestEntry = fc.record({ owner: nodeId, generation: index, state: index, gauges: index })
const gauge = fc.oneof(fc.integer(), fc.double({ noDefaultInfinity: true, noNaN: true })).map((value) => value + 0)
const delta: fc.Arbitrary<Delta> = fc.record({
  owner: nodeId,
  generation: index,
  state: fc.option(
    fc.record({
      since: index,
      upTo: index,
      forgottenUpTo: index,
      entries: fc.array(fc.record({ key: text, value: fc.option(text), version: index }), { maxLength: 4 }),
    }),
  ),
  gauges: fc.option(
    fc.record({ version: index, entries: fc.array(fc.record({ key: text, value: gauge }), { maxLength: 4 }) }),
  ),
})
const few = { maxLength: 4 }
const gossipBody: fc.Arbitrary<GossipBody> = fc.oneof(
  fc.record({ kind: fc.constantFrom('ping' as const, 'ack' as const, 'nack' as const), seq: index }),
  fc.record({ kind: fc.constant('ping-request' as const), seq: index, target: nodeId }),
  fc.record({ kind: fc.constant('news' as const) }),
  fc.record({
    kind: fc.constantFrom('exchange-request' as const, 'exchange-response' as const),
    members: fc.array(claim, few),
  }),
  fc.record({ kind: fc.constant('digest-request' as const), digest: fc.array(digestEntry, few) }),
  fc.record({
    kind: fc.constant('digest-response' as const),
    digest: fc.array(digestEntry, few),
    deltas: fc.array(delta, few),
  }),
  fc.record({ kind: fc.constant('deltas' as const), deltas: fc.array(delta, few) }),
)
const gossipHeader = fc.record({
  from: fc.record({ node: nodeId, generation: index, incarnation: index, address: text }),
  to: nodeId,
  claims: fc.array(claim, few),
})

export const gossipMessage: fc.Arbitrary<GossipMessage> = fc
  .tuple(gossipHeader, gossipBody)
  .map(([header, body]) => ({ ...header, ...body }))

const operatingError = fc
  .record({
    code: fc.constantFrom(...errorCodes),
    message: text,
    retry: fc.constantFrom('never' as const, 'elsewhere' as const, 'after' as const, 'outcome-unknown' as const),
    retryAfterMs: fc.option(fc.nat(), { nil: undefined }),
    details: fc.option(fc.dictionary(word(8), fc.oneof(fc.nat(), text), { noNullPrototype: true }), { nil: undefined }),
  })
  .map(({ code, message, retry, retryAfterMs, details }) => {
    const options = {
      retry,
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
      ...(details === undefined ? {} : { details }),
    }
    return new OperatingError(code, message, options)
  })

const outcome: fc.Arbitrary<Outcome> = fc.oneof(
  json.map((result) => ({ kind: 'result' as const, result })),
  json.map((error) => ({ kind: 'error' as const, error })),
  fc.record({ kind: fc.constantFrom('not-sent', 'rejected', 'unknown'), error: operatingError }),
  fc.constant({ kind: 'cancelled' as const }),
  fc.constant({ kind: 'left' as const }),
)

export const callMessage: fc.Arbitrary<CallMessage> = fc.oneof(
  fc.record({
    kind: fc.constant('call-start' as const),
    call: fc.record({
      id: callId,
      server: serverName,
      method: fc.constantFrom('tools/call', 'resources/read'),
      params: json,
      timeoutMs: fc.option(fc.nat(), { nil: null }),
      origin: fc.option(fc.record({ session: sessionId, requestId: json, isKept: fc.boolean() }), { nil: null }),
    }),
  }),
  fc.record({
    kind: fc.constant('call-resume' as const),
    id: callId,
    ref: fc.record({ id: callId, session: sessionId, after: index }),
  }),
  fc.record({
    kind: fc.constant('call-event' as const),
    id: callId,
    event: fc.record({ seq: index, message: json }),
  }),
  fc.record({ kind: fc.constant('call-end' as const), id: callId, outcome }),
  fc.record({ kind: fc.constant('call-cancel' as const), id: callId, params: fc.option(json, { nil: null }) }),
  fc.record({ kind: fc.constantFrom('call-leave', 'call-behind'), id: callId }),
)

const position = fc.record({ epoch: index, seq: index })
const reading = index

export const mailMessage: fc.Arbitrary<MailMessage> = fc.oneof(
  fc.record({
    kind: fc.constant('mail-open' as const),
    reading,
    session: sessionId,
    position: fc.option(position, { nil: null }),
    isFresh: fc.boolean(),
    isAgain: fc.boolean(),
  }),
  fc.record({ kind: fc.constant('mail-opened' as const), reading, position }),
  fc.record({
    kind: fc.constant('mail' as const),
    reading,
    epoch: index,
    mail: fc.record({ seq: index, server: serverName, message: json }),
  }),
  fc.record({ kind: fc.constant('mail-close' as const), reading, arrived: fc.option(index, { nil: null }) }),
  fc.record({ kind: fc.constantFrom('mail-behind', 'mail-displaced'), reading }),
)

const questionId = fc
  .tuple(nodeId, fc.nat(), fc.nat())
  .map(([node, generation, counter]) => `q.${node}.${generation}.${counter}.${'a-_Z09'.padEnd(16, 'x')}` as QuestionId)
export const saidWord: fc.Arbitrary<SaidWord> = fc.record({
  session: sessionId,
  word: fc.oneof(
    fc.record({ kind: fc.constant('answer' as const), question: questionId, result: json }),
    fc.record({ kind: fc.constant('refusal' as const), question: questionId, error: json }),
    fc.record({ kind: fc.constant('progress' as const), question: questionId, params: json }),
    fc.record({ kind: fc.constant('cancel' as const), requestId: json, params: json }),
    fc.record({
      kind: fc.constant('notification' as const),
      server: fc.option(serverName, { nil: null }),
      method: fc.constant('notifications/roots/list_changed'),
      params: fc.option(json, { nil: null }),
    }),
  ),
})

export const handMessage: fc.Arbitrary<HandMessage> = fc.oneof(
  fc.record({
    kind: fc.constant('hand' as const),
    number: index,
    session: sessionId,
    message: fc.uint8Array({ maxLength: 100 }),
  }),
  fc.record({
    kind: fc.constant('handed' as const),
    number: index,
    answer: fc.option(
      fc.record({
        status: fc.integer({ min: 200, max: 599 }),
        retryAfterS: fc.option(fc.nat(), { nil: null }),
        body: fc.option(json, { nil: null }),
      }),
      { nil: null },
    ),
  }),
)

/** One change of some bytes: cut at the end, lengthened, or with one bit flipped. */
export const damage: fc.Arbitrary<(bytes: Uint8Array) => Uint8Array> = fc.oneof(
  fc.nat().map((at) => (bytes: Uint8Array) => bytes.slice(0, at % bytes.length)),
  fc.uint8Array({ minLength: 1, maxLength: 20 }).map((tail) => (bytes: Uint8Array) => Buffer.concat([bytes, tail])),
  fc.record({ at: fc.nat(), bit: fc.nat(7) }).map(({ at, bit }) => (bytes: Uint8Array) => {
    const damaged = bytes.slice()
    damaged[at % bytes.length] = (damaged[at % bytes.length] ?? 0) ^ (1 << bit)
    return damaged
  }),
)
