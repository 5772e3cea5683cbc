import { describe, expect, it } from 'vitest'
import { checkJoinRequest, JoinAttempt, refuseJoiner, welcomeJoiner } from '../../src/identity/join-exchange.ts'
import type { JoinCheck, JoinOutcome } from '../../src/identity/join-exchange.ts'
import { ExchangeKey } from '../../src/identity/join-key.ts'
import type { JoinKey } from '../../src/identity/join-key.ts'
import { joinKeyOf, makeJoinToken, parseJoinToken } from '../../src/identity/join-token.ts'
import { ClusterSecret } from '../../src/identity/secret.ts'
import type { ClusterId, NodeId } from '../../src/vocabulary/ids.ts'
import type { JoinAnswer, JoinRequest, SentJoinRequest } from '../../src/vocabulary/join.ts'
import { OperatingError } from '../../src/vocabulary/operating-error.ts'

// One join as data: a joiner with a token, a node that knows the secret, and who stands between.
const secret = ClusterSecret.from('the secret of the cluster that is joined')
const other = ClusterSecret.from('the secret of quite another cluster here')
const clusterId = '11111111-2222-4333-8444-555555555555' as ClusterId
const elsewhere = '99999999-2222-4333-8444-555555555555' as ClusterId
const now = 1_700_000_000_000
const grant = Buffer.from('what the joiner is given')

type Changed = Partial<Omit<JoinRequest, 'key' | 'nonce'>>

/** A joiner, and its request as the codec would hand it over. */
function joiner(token = makeJoinToken(secret, clusterId), changed: Changed = {}): Joiner {
  const { id, key, clusterId: named } = parseJoinToken(token.text)
  const said = { versions: { min: 2, max: 2 }, tokenId: id, clusterId: named, clusterName: null, clock: now }
  const attempt = new JoinAttempt({ ...said, node: 'n4' as NodeId, version: '1.0.0', ...changed })
  return { key, attempt, sent: sentOf(attempt.request, (bytes) => attempt.prove(key, bytes)) }
}

type Joiner = { readonly key: JoinKey; readonly attempt: JoinAttempt; readonly sent: SentJoinRequest }

function sentOf(request: JoinRequest, prove: (bytes: Uint8Array) => Uint8Array): SentJoinRequest {
  const { versions, tokenId, clusterId: named } = request
  const bytes = Buffer.from(JSON.stringify({ ...request, key: [...request.key], nonce: [...request.nonce] }))
  return { versions, tokenId, clusterId: named, request, bytes, proof: prove(bytes) }
}

function check(sent: SentJoinRequest, known = secret): JoinCheck {
  return checkJoinRequest(sent, {
    clusterId,
    clusterName: 'prod',
    keyOf: (named, id) => joinKeyOf(known, { clusterId: named, id }),
    now,
    versions: { min: 2, max: 2 },
  })
}

function welcome({ key, sent }: Pick<Joiner, 'key' | 'sent'>): JoinAnswer {
  const { request } = sent
  const answer = request === null ? null : welcomeJoiner(grant, { key, sent: { bytes: sent.bytes, request } })
  if (answer === null) throw new Error('it was not welcome')
  return answer
}

function read({ attempt, key, sent }: Joiner, answer: JoinAnswer): JoinOutcome {
  return attempt.read(answer, { key, sent: sent.bytes })
}

function code(found: JoinCheck): string {
  return found.kind === 'refused' ? `${found.error.code}${found.key === null ? '' : ', proven'}` : found.kind
}

describe('a joiner with a token of the cluster', () => {
  it('is believed, and alone can read what it is given', () => {
    const one = joiner()
    const found = check(one.sent)
    expect(found).toMatchObject({ kind: 'proven', request: { node: 'n4' } })
    const answer = welcome(one)
    expect(read(one, answer)).toEqual({ kind: 'welcome', grant: new Uint8Array(grant) })
    expect(answer.kind === 'welcome' && Buffer.from(answer.sealed).includes('the joiner')).toBe(false)
    // The same token, which a thief learns later, does not open a recorded answer: the keys are gone.
    const thief = new JoinAttempt({ ...one.attempt.request })
    expect(thief.read(answer, { key: one.key, sent: one.sent.bytes })).toEqual({ kind: 'not-believed' })
  })

  it('is refused, with a proof, for a clock that is far off, another version and another name of the cluster', () => {
    expect(code(check(joiner(undefined, { clock: now + 60_000 }).sent))).toBe('proven')
    expect(code(check(joiner(undefined, { clock: now - 60_001 }).sent))).toBe('clock-skew, proven')
    expect(code(check(joiner(undefined, { clock: now + 60_001 }).sent))).toBe('clock-skew, proven')
    expect(code(check(joiner(undefined, { clusterName: 'prod' }).sent))).toBe('proven')
    expect(code(check(joiner(undefined, { clusterName: 'test' }).sent))).toBe('wrong-cluster, proven')
    const newer = { ...joiner(undefined, { versions: { min: 3, max: 4 } }).sent, request: null }
    expect(code(check(newer))).toBe('incompatible-version, proven')
    const skewed = check(joiner(undefined, { clock: now - 3_600_000 }).sent)
    expect(skewed).toMatchObject({ error: { message: expect.stringContaining('3600 s behind the cluster') } })
  })

  it('is not believed when a byte of its request or of its proof is another', () => {
    const { sent } = joiner()
    for (let at = 0; at < sent.bytes.length; at += 7) {
      expect(code(check({ ...sent, bytes: flipped(sent.bytes, at) }))).toBe('token-refused')
    }
    for (let at = 0; at < 32; at += 1) {
      expect(code(check({ ...sent, proof: flipped(sent.proof, at) }))).toBe('token-refused')
    }
    expect(code(check({ ...sent, proof: new Uint8Array(0) }))).toBe('token-refused')
    expect(code(check({ ...sent, tokenId: 'f'.repeat(16) }))).toBe('token-refused')
  })

  it('is refused by another cluster, which proves it when the two have one secret', () => {
    expect(code(check(joiner(makeJoinToken(other, elsewhere)).sent))).toBe('wrong-cluster')
    expect(code(check(joiner(makeJoinToken(secret, elsewhere)).sent))).toBe('wrong-cluster, proven')
    // A forged token of this cluster.
    expect(code(check(joiner(makeJoinToken(other, clusterId)).sent))).toBe('token-refused')
  })

  it('with a key of low order gets nothing, and does no harm', () => {
    const { key, sent } = joiner()
    if (sent.request === null) throw new Error('it can be read')
    for (const low of [0, 1]) {
      const request = { ...sent.request, key: new Uint8Array(32).fill(low, 0, 1) }
      expect(welcomeJoiner(grant, { key, sent: { bytes: sent.bytes, request } })).toBeNull()
    }
  })
})

describe('an answer is not believed', () => {
  it('when a byte of it is another', () => {
    const one = joiner()
    const answer = welcome(one)
    if (answer.kind !== 'welcome') throw new Error('it is welcome')
    const changed = [
      { ...answer, key: flipped(answer.key, 3) },
      { ...answer, sealed: flipped(answer.sealed, 0) },
      { ...answer, sealed: flipped(answer.sealed, answer.sealed.length - 1) },
      { ...answer, sealed: answer.sealed.subarray(0, 20) },
      { ...answer, proof: flipped(answer.proof, 31) },
    ]
    for (const each of changed) expect(read(one, each)).toEqual({ kind: 'not-believed' })
  })

  it('when it is to another request of the same joiner, be it a welcome or a refusal', () => {
    const token = makeJoinToken(secret, clusterId)
    const [first, second] = [joiner(token), joiner(token)]
    expect(read(second, welcome(first))).toEqual({ kind: 'not-believed' })
    const error = new OperatingError('token-refused', 'it has expired')
    const refusal = refuseJoiner(error, { key: first.key, sent: first.sent.bytes })
    expect(read(first, refusal)).toMatchObject({ kind: 'refused', isProven: true, error: { code: 'token-refused' } })
    expect(read(second, refusal)).toMatchObject({ kind: 'refused', isProven: false })
  })

  it('when who answers does not know the token, though it swaps the keys in between', () => {
    const one = joiner()
    const foreign = joinKeyOf(other, { clusterId, id: one.attempt.request.tokenId })
    expect(read(one, welcome({ key: foreign, sent: one.sent }))).toEqual({ kind: 'not-believed' })
    const between = { ...one.attempt.request, key: new ExchangeKey().publicBytes }
    const changed = sentOf(between, () => one.sent.proof)
    expect(code(check(changed))).toBe('token-refused')
    // Even if a node answered it, the joiner sees that it is no answer to what it sent.
    expect(read(one, welcome({ key: one.key, sent: changed }))).toEqual({ kind: 'not-believed' })
  })

  it('as a refusal without a proof, with that of a welcome, or with other words', () => {
    const one = joiner()
    const error = new OperatingError('token-refused', 'it has expired')
    const proven = refuseJoiner(error, { key: one.key, sent: one.sent.bytes })
    if (proven.kind !== 'refuse') throw new Error('it is a refusal')
    const answers: JoinAnswer[] = [
      refuseJoiner(error, null),
      { ...proven, proof: welcome(one).proof },
      { ...proven, code: 'clock-skew' },
      { ...proven, message: 'it has expired.' },
    ]
    for (const answer of answers) expect(read(one, answer)).toMatchObject({ kind: 'refused', isProven: false })
  })

  it('with what a terminal would take for an order', () => {
    const one = joiner()
    const answer = refuseJoiner(new OperatingError('internal', 'x'), null)
    const said = read(one, { ...answer, message: 'go\u001b[2J away' } as JoinAnswer)
    expect(said).toMatchObject({ error: { message: 'go [2J away' } })
  })
})

function flipped(bytes: Uint8Array, at: number): Uint8Array {
  const changed = new Uint8Array(bytes)
  changed[at] = (changed[at] ?? 0) ^ 1
  return changed
}
