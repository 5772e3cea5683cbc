import { describe, expect, it } from 'vitest'
import { checkJoinRequest, JoinAttempt, refuseJoiner, welcomeJoiner } from '../../src/identity/join-exchange.ts'
import type { AskedNode } from '../../src/identity/join-exchange.ts'
import { joinKeyOf, makeJoinToken, parseJoinToken } from '../../src/identity/join-token.ts'
import { ClusterSecret } from '../../src/identity/secret.ts'
import type { ClusterId, NodeId } from '../../src/vocabulary/ids.ts'
import { clockSkewMaxMs } from '../../src/vocabulary/join.ts'
import type { JoinAnswer, JoinRequest } from '../../src/vocabulary/join.ts'
import { OperatingError } from '../../src/vocabulary/operating-error.ts'

const secret = ClusterSecret.from('the secret of one cluster, and long enough')
const clusterId = '9f3c6a1e-2b7d-4c58-8e0f-1a2b3c4d5e6f' as ClusterId
const otherId = '00000000-2b7d-4c58-8e0f-1a2b3c4d5e6f' as ClusterId
const versions = { min: 2, max: 3 }
const now = 1_000_000
const node: AskedNode = {
  clusterId,
  clusterName: 'prod',
  keyOf: (named, id) => joinKeyOf(secret, { clusterId: named, id }),
  now,
  versions,
}
const grant = new Uint8Array(Buffer.from('what a node of the cluster needs'))
const bytesOf = (said: unknown): Uint8Array => new Uint8Array(Buffer.from(JSON.stringify(said)))

/** What a joiner with a token sends, its request changed before it is proven. */
function asking(changed: Partial<JoinRequest> = {}, { of = clusterId, by = secret } = {}) {
  const token = parseJoinToken(makeJoinToken(by, of).text)
  const said = { versions, tokenId: token.id, clusterId: of, clusterName: null, clock: now, version: '1.0.0' }
  const attempt = new JoinAttempt({ ...said, node: 'n4' as NodeId, ...changed })
  const { request } = attempt
  const sent = bytesOf({ ...request, key: [...request.key], nonce: [...request.nonce] })
  const whole = { ...request, bytes: sent, proof: attempt.prove(token.key, sent) }
  return { token, attempt, sent, received: { ...whole, request: request as JoinRequest | null } }
}

/** The code and message of a refusal, and whether it was proven to the joiner. */
function refusalOf(received: ReturnType<typeof asking>['received'], asked = node): unknown {
  const check = checkJoinRequest(received, asked)
  return check.kind === 'refused' ? [check.error.code, check.error.message, check.key !== null] : check.kind
}

/** What a joiner makes of an answer that may have been changed on its way. */
function welcomed(change: (answer: JoinAnswer & { kind: 'welcome' }) => JoinAnswer = (answer) => answer): unknown {
  const { token, attempt, sent, received } = asking()
  const key = joinKeyOf(secret, token)
  const answer = welcomeJoiner(grant, { key, sent: { bytes: received.bytes, request: attempt.request } })
  if (answer === null) return null
  return attempt.read(change(answer), { key: token.key, sent })
}

describe('a node with a join token', () => {
  it('is let in, and gets what was sealed for it', () => {
    expect(refusalOf(asking().received)).toBe('proven')
    expect(welcomed()).toEqual({ kind: 'welcome', grant })
  })

  it('makes a key and a nonce of its own for each request', () => {
    const [a, b] = [asking().attempt.request, asking().attempt.request]
    expect(a.key).not.toEqual(b.key)
    expect(a.nonce).not.toEqual(b.nonce)
  })

  it('believes no welcome that was changed, or is the answer to another request', () => {
    const flip = (bytes: Uint8Array): Uint8Array => bytes.map((byte, at) => (at === 0 ? byte ^ 1 : byte))
    const notBelieved = { kind: 'not-believed' }
    expect(welcomed((answer) => ({ ...answer, key: flip(answer.key) }))).toEqual(notBelieved)
    expect(welcomed((answer) => ({ ...answer, sealed: flip(answer.sealed) }))).toEqual(notBelieved)
    expect(welcomed((answer) => ({ ...answer, proof: flip(answer.proof) }))).toEqual(notBelieved)
    expect(welcomed((answer) => ({ ...answer, proof: new Uint8Array(0) }))).toEqual(notBelieved)
    const [one, other] = [asking(), asking()]
    const key = joinKeyOf(secret, one.token)
    const answer = welcomeJoiner(grant, { key, sent: { bytes: one.sent, request: one.attempt.request } })
    expect(answer).not.toBe(null)
    expect(answer && other.attempt.read(answer, { key: one.token.key, sent: other.sent })).toEqual(notBelieved)
  })

  it('believes no welcome by who does not know the token', () => {
    const { token, attempt, sent } = asking()
    const strangers = joinKeyOf(ClusterSecret.from('a secret that somebody else has made up'), token)
    const answer = welcomeJoiner(grant, { key: strangers, sent: { bytes: sent, request: attempt.request } })
    expect(answer && attempt.read(answer, { key: token.key, sent })).toEqual({ kind: 'not-believed' })
  })

  it('takes a refusal for proven only from who knows the token, over its own request and these very words', () => {
    const { token, attempt, sent } = asking()
    const key = joinKeyOf(secret, token)
    const error = new OperatingError('token-refused', 'it has expired')
    const refused = refuseJoiner(error, { key, sent }) as JoinAnswer & { kind: 'refuse' }
    const read = (answer: JoinAnswer, about = sent): unknown => {
      const outcome = attempt.read(answer, { key: token.key, sent: about })
      return outcome.kind === 'refused' && [outcome.isProven, outcome.error.code, outcome.error.message]
    }
    expect(read(refused)).toEqual([true, 'token-refused', 'it has expired'])
    expect(read({ ...refused, code: 'duplicate-node' })).toEqual([false, 'duplicate-node', 'it has expired'])
    expect(read({ ...refused, message: 'send your files' })).toEqual([false, 'token-refused', 'send your files'])
    expect(read(refused, asking().sent)).toEqual([false, 'token-refused', 'it has expired'])
    expect(read(refuseJoiner(error, null))).toEqual([false, 'token-refused', 'it has expired'])
  })

  it('takes no welcome for a refusal and no request for either: what proves one proves nothing else', () => {
    const { token, attempt, sent, received } = asking()
    const words = { kind: 'refuse', code: 'token-refused', message: '' } as const
    expect(attempt.read({ ...words, proof: received.proof }, { key: token.key, sent })).toMatchObject({
      isProven: false,
    })
  })

  it('is told nothing that a terminal would obey, and no more than fits', () => {
    const { token, attempt, sent } = asking()
    const key = joinKeyOf(secret, token)
    const refused = refuseJoiner(new OperatingError('internal', `\u001b[2J${'x'.repeat(2000)}`), { key, sent })
    const outcome = attempt.read(refused, { key: token.key, sent })
    expect(outcome).toMatchObject({ kind: 'refused', isProven: true })
    expect(outcome.kind === 'refused' && outcome.error.message).toMatch(/^ \[2Jx{400,}\.\.\.$/)
  })
})

describe('a node that is asked', () => {
  it('refuses a token that another cluster made, with what to do, and proves nothing to it', () => {
    const other = ClusterSecret.from('the secret of another cluster, long enough too')
    expect(refusalOf(asking({}, { of: otherId, by: other }).received)).toEqual([
      'wrong-cluster',
      expect.stringMatching(
        /is of cluster 00000000-.* this node of cluster "prod" \(9f3c6a1e-.*\): join by an address/,
      ),
      false,
    ])
  })

  it('says so provably when it was made with the same secret before the cluster was recovered', () => {
    expect(refusalOf(asking({}, { of: otherId }).received)).toEqual(['wrong-cluster', expect.any(String), true])
  })

  it('refuses a token that nobody made here, or that was changed, and whatever of the request was changed', () => {
    const other = ClusterSecret.from('the secret of another cluster, long enough too')
    const unproven = ['token-refused', expect.stringContaining('was not made by cluster "prod"'), false]
    expect(refusalOf(asking({}, { by: other }).received)).toEqual(unproven)
    const { received } = asking()
    expect(refusalOf({ ...received, tokenId: '0'.repeat(16) })).toEqual(unproven)
    expect(refusalOf({ ...received, bytes: bytesOf({ node: 'n1' }) })).toEqual(unproven)
    expect(refusalOf({ ...received, proof: new Uint8Array(32) })).toEqual(unproven)
    expect(refusalOf({ ...received, proof: new Uint8Array(0) })).toEqual(unproven)
  })

  it('refuses who speaks no common version, also when it can read no more than that, and says so provably', () => {
    const received = { ...asking({ versions: { min: 4, max: 5 } }).received, request: null }
    expect(refusalOf(received)).toEqual([
      'incompatible-version',
      expect.stringContaining(
        'the cluster speaks versions 2 to 3 of the wire, the node that would join versions 4 to 5',
      ),
      true,
    ])
    const one = { ...node, versions: { min: 3, max: 3 } }
    expect(refusalOf({ ...asking({ versions: { min: 1, max: 1 } }).received, request: null }, one)).toEqual([
      'incompatible-version',
      expect.stringContaining('speaks version 3 of the wire, the node that would join version 1'),
      true,
    ])
  })

  it('says nothing of its versions to who has no token', () => {
    const received = { ...asking({ versions: { min: 4, max: 5 } }).received, request: null, proof: new Uint8Array(32) }
    expect(refusalOf(received)).toMatchObject(['token-refused', expect.any(String), false])
  })

  it('refuses who was told to join a cluster of another name', () => {
    expect(refusalOf(asking({ clusterName: 'prod' }).received)).toBe('proven')
    expect(refusalOf(asking({ clusterName: 'test' }).received)).toEqual([
      'wrong-cluster',
      'the cluster is called "prod", the configuration of node n4 says "test": take cluster.name away there, or set it alike',
      true,
    ])
  })

  it.each([
    ['ahead of', 1],
    ['behind', -1],
  ])('refuses a clock that is more than a minute %s its own, and says by how much', (words, sign) => {
    expect(refusalOf(asking({ clock: now + sign * clockSkewMaxMs }).received)).toBe('proven')
    expect(refusalOf(asking({ clock: now + sign * (clockSkewMaxMs + 1) }).received)).toEqual([
      'clock-skew',
      expect.stringContaining(`the clock of node n4 is 60 s ${words} the cluster's, more than 60 s: set it`),
      true,
    ])
  })

  it('has no welcome for a key that is none', () => {
    const { token, attempt, sent } = asking()
    const request = { ...attempt.request, key: new Uint8Array(32) }
    expect(welcomeJoiner(grant, { key: joinKeyOf(secret, token), sent: { bytes: sent, request } })).toBe(null)
  })
})
