import { describe, expect, it } from 'vitest'
import { JoinAttempt } from '../../src/identity/join-exchange.ts'
import { makeJoinToken, parseJoinToken } from '../../src/identity/join-token.ts'
import { ClusterSecret } from '../../src/identity/secret.ts'
import type { Log, LogFields } from '../../src/log/log.ts'
import { Joins } from '../../src/node/joins.ts'
import { makeConfiguration } from '../../src/raft/configuration.ts'
import type { ConfigurationChange } from '../../src/raft/configuration.ts'
import { decodeCommand, encodeCommand } from '../../src/state/command-codec.ts'
import type { Command, CommandResult, JoinToken } from '../../src/state/command.ts'
import { ClusterState } from '../../src/state/state.ts'
import { assert } from '../../src/std/assert.ts'
import type { Clock } from '../../src/std/clock.ts'
import type { ClusterId, NodeId } from '../../src/vocabulary/ids.ts'
import type { JoinAnswer, JoinRequest } from '../../src/vocabulary/join.ts'
import { OperatingError } from '../../src/vocabulary/operating-error.ts'
import type { ErrorCode } from '../../src/vocabulary/operating-error.ts'
import { wireVersions } from '../../src/wire/handshake-codec.ts'
import { decodeJoinAnswer, decodeJoinGrant, encodeJoinBody, encodeJoinRequest } from '../../src/wire/join-codec.ts'

const secretText = 'the secret of one cluster, and long enough'
const secret = ClusterSecret.from(secretText)
const clusterId = '9f3c6a1e-2b7d-4c58-8e0f-1a2b3c4d5e6f' as ClusterId
const otherId = '00000000-2b7d-4c58-8e0f-1a2b3c4d5e6f' as ClusterId
const now = 1_000_000
const [n1, n2, n4] = ['n1', 'n2', 'n4'] as [NodeId, NodeId, NodeId]

type Step = 'barrier' | 'propose' | 'change'

/** A node of a cluster of n1 and n2, whose every step is done at once unless it is told to fail. */
class Asked {
  readonly state = new ClusterState()
  readonly lines: { event: string; fields: LogFields }[] = []
  readonly done: unknown[] = []
  /** What comes of the next steps of a kind; null: it is done. `lost`: it is done, and nobody learns of it. */
  readonly next: Record<Step, (ErrorCode | 'lost' | null)[]> = { barrier: [], propose: [], change: [] }
  configuration = { ...makeConfiguration(clusterId, [n1, n2]), learners: [] as NodeId[] }
  alive = new Set<NodeId>([n1, n2])
  isFormed = true
  logTime = now
  #elapsedMs = 0
  readonly joins: Joins

  constructor() {
    for (const node of [n1, n2]) this.list(node)
    this.done.length = 0
    const note = (event: string, fields: LogFields = {}): void => void this.lines.push({ event, fields })
    const log: Log = { debug: note, info: note, warn: note, error: note, child: () => log }
    // Time passes by itself, whenever somebody waits for it.
    const clock: Clock = {
      now: () => now,
      monotonic: () => this.#elapsedMs,
      after: (ms, fire) => {
        this.#elapsedMs += ms
        queueMicrotask(fire)
        return { cancel: () => undefined }
      },
    }
    const position = () => ({ term: 1, configuration: this.configuration })
    this.joins = new Joins({
      clusterName: 'prod',
      secret: secretText,
      clusterId: () => (this.isFormed ? clusterId : null),
      cluster: {
        state: this.state,
        get position() {
          return position()
        },
        barrier: () => this.#step('barrier', () => undefined),
        propose: (command) => this.#step('propose', () => this.apply(command)),
        change: (change) => this.#step('change', () => this.#change(change)),
      },
      isAlive: (node) => this.alive.has(node),
      clock,
      log,
    })
  }

  get waitedMs(): number {
    return this.#elapsedMs
  }

  apply(command: Command): CommandResult {
    const decoded = decodeCommand(encodeCommand({ command, idempotencyKey: null }))
    this.done.push(command.kind === 'member-set' ? 'member-set' : command)
    return this.state.apply({ index: this.state.appliedIndex + 1, time: this.logTime, command: decoded })
  }

  list(node: NodeId): void {
    const addresses = { http: `${node}:1`, peer: `${node}:2`, raft: `${node}:3` }
    this.apply({
      kind: 'member-set',
      member: { node, generation: 1, addresses, labels: {}, version: '', startedAt: 0 },
    })
  }

  /** A token of this cluster, known as the test wants it. */
  token(known: Partial<JoinToken> | null = {}): string {
    const { id, text } = makeJoinToken(secret, clusterId)
    const token = { id, createdAt: 0, expiresAt: now + 1000, usesMax: 1, usedBy: [], isRevoked: false, note: '' }
    if (known !== null) this.apply({ kind: 'token-set', token: { ...token, ...known } })
    this.done.length = 0
    return text
  }

  #change(change: ConfigurationChange): void {
    this.done.push(change)
    assert(change.kind === 'add-learner', 'nothing else is asked for')
    this.configuration = { ...this.configuration, learners: [...this.configuration.learners, change.node] }
  }

  async #step<T>(step: Step, work: () => T): Promise<T> {
    const outcome = this.next[step].shift() ?? null
    if (outcome !== null && outcome !== 'lost') throw new OperatingError(outcome, `${step}: it is so`)
    const result = work()
    if (outcome === 'lost') throw new OperatingError('outcome-unknown', `${step}: nobody knows`)
    return result
  }
}

type Outcome = {
  status: number
  kind: string
  code?: string
  message?: string
  isProven?: boolean
  grant?: unknown
}

/** One try of a joiner. */
async function ask(asked: Asked, token: string, changed: Partial<JoinRequest> = {}): Promise<Outcome> {
  const { id: tokenId, clusterId: named, key } = parseJoinToken(token)
  const said = { versions: wireVersions, tokenId, clusterId: named, clusterName: null, clock: now, version: '1.0.0' }
  const attempt = new JoinAttempt({ ...said, node: n4, ...changed })
  const sent = encodeJoinRequest(attempt.request)
  const { status, answer } = await post(asked, encodeJoinBody({ bytes: sent, proof: attempt.prove(key, sent) }))
  const outcome = attempt.read(answer, { key, sent })
  if (outcome.kind === 'welcome') return { status, kind: outcome.kind, grant: decodeJoinGrant(outcome.grant) }
  if (outcome.kind === 'not-believed') return { status, kind: outcome.kind }
  const { code, message } = outcome.error
  return { status, kind: outcome.kind, code, message, isProven: outcome.isProven }
}

async function post(asked: Asked, text: string): Promise<{ status: number; answer: JoinAnswer }> {
  const body = new Uint8Array(Buffer.from(text))
  const answered = await asked.joins.answer({ body, from: '10.0.0.4:999', signal: new AbortController().signal })
  const answer = decodeJoinAnswer(new Uint8Array(Buffer.from(answered.text)))
  if ('malformed' in answer) throw new Error(answer.malformed)
  return { status: answered.status, answer }
}

const welcome = {
  status: 200,
  kind: 'welcome',
  grant: { clusterId, clusterName: 'prod', secret: secretText, peers: ['n1:2', 'n2:2'] },
}
const learner = { kind: 'add-learner', node: n4, promote: false }
const steps = (asked: Asked): unknown[] => asked.done.map((step) => (step as { kind: string }).kind)

describe('a node of the cluster that is asked to let another in', () => {
  it('uses the token, makes it a learner, and gives it what it needs', async () => {
    const asked = new Asked()
    const token = asked.token()
    expect(await ask(asked, token)).toEqual(welcome)
    const { id } = parseJoinToken(token)
    expect(asked.done).toEqual([{ kind: 'token-use', id, node: n4 }, learner])
    expect(asked.lines).toEqual([
      { event: 'join-granted', fields: { node: n4, address: '10.0.0.4:999', by: id, version: '1.0.0' } },
    ])
  })

  it('answers the same join again, any number of times, with one use of the token and one change', async () => {
    const asked = new Asked()
    const token = asked.token()
    for (let tries = 0; tries < 3; tries += 1) expect(await ask(asked, token)).toEqual(welcome)
    expect(steps(asked)).toEqual(['token-use', 'add-learner', 'token-use', 'token-use'])
    expect(asked.state.token(parseJoinToken(token).id)?.usedBy).toEqual([n4])
  })

  it.each<[string, Partial<Record<Step, (ErrorCode | 'lost')[]>>]>([
    ['the leader dies before anything is done', { barrier: ['no-leader', 'no-quorum', 'timeout'] }],
    ['nobody knows whether the token was used', { propose: ['lost', 'outcome-unknown'] }],
    ['another change is under way', { change: ['change-under-way', 'change-under-way'] }],
    ['nobody knows whether the change was made', { change: ['lost'] }],
    ['another try of the same join was first', { change: ['change-refused'] }],
  ])('completes it when %s', async (_, next) => {
    const asked = new Asked()
    const token = asked.token()
    Object.assign(asked.next, next)
    expect(await ask(asked, token)).toEqual(welcome)
    expect(asked.configuration.learners).toEqual([n4])
    expect(asked.state.token(parseJoinToken(token).id)?.usedBy).toEqual([n4])
    expect(asked.waitedMs).toBeGreaterThan(0)
  })

  it('gives up after a while, and says what may be otherwise at the next try', async () => {
    const asked = new Asked()
    asked.next.barrier = Array.from({ length: 1000 }, () => 'no-leader')
    expect(await ask(asked, asked.token())).toMatchObject({ status: 503, code: 'no-leader', isProven: true })
    expect(asked.waitedMs).toBeGreaterThanOrEqual(10_000)
    expect(asked.waitedMs).toBeLessThan(15_000)
    expect(asked.done).toEqual([])
  })

  it('masks what is an accident of its own', async () => {
    const asked = new Asked()
    const token = asked.token()
    asked.state.token = () => {
      throw new TypeError('a secret place')
    }
    expect(await ask(asked, token)).toMatchObject({
      status: 500,
      code: 'internal',
      message: expect.not.stringContaining('place'),
    })
    expect(asked.lines[0]?.fields['error']).toMatchObject({ cause: { message: 'a secret place' } })
  })
})

describe('a join is refused, on both sides with what to do,', () => {
  it.each([
    ['is not known', null, 'is not known here: it expired long ago, or the cluster has been recovered since'],
    ['has expired', 'expired', 'has expired'],
    ['is used up', 'used-up', 'has let in as many nodes as it may'],
    ['was revoked', 'revoked', 'was revoked'],
  ] as const)('with a token that %s', async (_, known, why) => {
    const asked = new Asked()
    const token = known === null ? asked.token(null) : madeAs(asked, known)
    const { id } = parseJoinToken(token)
    const message = `join token ${id} ${why}: make one with: quorate token create`
    expect(await ask(asked, token)).toEqual({
      status: 403,
      kind: 'refused',
      code: 'token-refused',
      message,
      isProven: true,
    })
    expect(asked.configuration.learners).toEqual([])
    expectTold(asked, { code: 'token-refused', message, node: n4 })
  })

  it.each<[string, (asked: Asked) => string, Partial<JoinRequest>, ErrorCode, string, boolean]>([
    [
      'with a token of another cluster',
      () => makeJoinToken(ClusterSecret.from('the secret of another cluster, long'), otherId).text,
      {},
      'wrong-cluster',
      'join by an address of the token',
      false,
    ],
    [
      'with a token that nobody made',
      () => makeJoinToken(ClusterSecret.from('a secret that somebody made up by himself'), clusterId).text,
      {},
      'token-refused',
      'was not made by cluster "prod"',
      false,
    ],
    [
      'with no common version of the wire',
      (asked) => asked.token(),
      { versions: { min: wireVersions.max + 1, max: wireVersions.max + 2 } },
      'incompatible-version',
      "start it with the cluster's release, or upgrade the cluster first",
      true,
    ],
    [
      'with a clock that is far ahead',
      (asked) => asked.token(),
      { clock: now + 60_001 },
      'clock-skew',
      "is 60 s ahead of the cluster's, more than 60 s: set it",
      true,
    ],
    ['with a clock that is far behind', (asked) => asked.token(), { clock: 0 }, 'clock-skew', 'is 1000 s behind', true],
    [
      'with the name of another cluster in its configuration',
      (asked) => asked.token(),
      { clusterName: 'test' },
      'wrong-cluster',
      'take cluster.name away there',
      true,
    ],
    [
      'with the id of a live node',
      (asked) => asked.token(),
      { node: n2 },
      'duplicate-node',
      'a live node of the cluster has the id n2 already: give the new one another node.id',
      true,
    ],
  ])('%s', async (_, make, changed, code, why, isProven) => {
    const asked = new Asked()
    const token = make(asked)
    const outcome = await ask(asked, token, changed)
    expect(outcome).toMatchObject({ kind: 'refused', code, message: expect.stringContaining(why), isProven })
    expect(asked.done).toEqual([])
    expectTold(asked, {
      code,
      message: outcome.message,
      node: code === 'incompatible-version' ? null : (changed.node ?? n4),
    })
  })

  it('with the id of a node that does not answer, which may have lost its disk: it is to be taken out first', async () => {
    const asked = new Asked()
    const token = asked.token()
    asked.alive.delete(n2)
    const outcome = await ask(asked, token, { node: n2 })
    expect(outcome).toMatchObject({ code: 'wiped-node', isProven: true })
    expect(outcome.message).toContain('quorate node remove n2')
    expect(asked.done).toEqual([])
  })

  it('with the id of a learner that came by another token, or has come up already', async () => {
    const asked = new Asked()
    const first = asked.token()
    await ask(asked, first)
    const second = asked.token()
    expect(await ask(asked, second)).toMatchObject({ code: 'wiped-node' })
    expect(await ask(asked, first)).toEqual(welcome)
    asked.alive.add(n4)
    expect(await ask(asked, second)).toMatchObject({ code: 'duplicate-node' })
    expect(await ask(asked, first)).toMatchObject({ status: 409, code: 'change-under-way' })
    asked.list(n4)
    expect(await ask(asked, first)).toMatchObject({ code: 'duplicate-node' })
    expect(asked.state.token(parseJoinToken(second).id)?.usedBy).toEqual([])
  })

  it('with the id of a voter, though it came by this very token', async () => {
    const asked = new Asked()
    const token = asked.token()
    await ask(asked, token)
    asked.configuration = { ...asked.configuration, voters: [n1, n2, n4], learners: [] }
    asked.alive.add(n4)
    expect(await ask(asked, token)).toMatchObject({ code: 'duplicate-node' })
  })

  it('while the node with that id is being taken out, and not any more when it is gone', async () => {
    const asked = new Asked()
    const token = asked.token()
    asked.list(n4)
    expect(await ask(asked, token)).toMatchObject({ status: 409, code: 'change-under-way' })
    expect(steps(asked)).not.toContain('token-use')
    asked.apply({ kind: 'member-delete', node: n4, generation: 1 })
    expect(await ask(asked, token)).toEqual({ ...welcome })
  })

  it('before there is a cluster, and without a word that it is proven', async () => {
    const asked = new Asked()
    const token = asked.token()
    asked.isFormed = false
    expect(await ask(asked, token)).toMatchObject({ status: 503, code: 'no-leader', isProven: false })
  })

  it('when it can not be read, in words that do not repeat it', async () => {
    const asked = new Asked()
    const { status, answer } = await post(asked, '{"said":"qj1.secret-of-somebody","proof":"x"}')
    expect([status, answer]).toMatchObject([400, { kind: 'refuse', code: 'bad-request' }])
    expect(JSON.stringify([answer, asked.lines])).not.toContain('somebody')
  })
})

describe('what a node logs of joins', () => {
  it('is one line for the same refusal again of who has proven nothing, and each of who has a token', async () => {
    const asked = new Asked()
    const madeUp = makeJoinToken(ClusterSecret.from('a secret that somebody made up by himself'), clusterId).text
    for (let tries = 0; tries < 3; tries += 1) await ask(asked, madeUp)
    expect(asked.lines).toHaveLength(1)
    const revoked = madeAs(asked, 'revoked')
    for (let tries = 0; tries < 3; tries += 1) await ask(asked, revoked)
    expect(asked.lines).toHaveLength(4)
  })

  it('is one line of each kind of refusal, whatever a stranger varies in what it sends', async () => {
    const asked = new Asked()
    const strange = ClusterSecret.from('a secret that somebody made up by himself')
    for (let tries = 0; tries < 5; tries += 1) {
      const named = clusterId.replace('9f3c', `000${tries}`) as ClusterId
      await ask(asked, makeJoinToken(strange, named).text)
      await ask(asked, makeJoinToken(strange, clusterId).text)
      await post(asked, tries % 2 === 0 ? '{}' : '[')
    }
    expect(asked.lines.map(({ fields }) => fields['code'])).toEqual(['wrong-cluster', 'token-refused', 'bad-request'])
  })

  it('holds neither the secret of the cluster nor any of the token that proves anything', async () => {
    const asked = new Asked()
    const token = asked.token()
    await ask(asked, token)
    await ask(asked, token, { node: n2 })
    const logged = JSON.stringify(asked.lines, (_, value: unknown) => (value instanceof Error ? value.message : value))
    expect(logged).toContain('join-refused')
    expect(logged).not.toContain(secretText)
    expect(logged).not.toContain(token.split('.')[3])
  })
})

/** A token that has become what it is by what happened to it. */
function madeAs(asked: Asked, how: 'expired' | 'used-up' | 'revoked'): string {
  const token = asked.token(how === 'expired' ? { expiresAt: now + 1000 } : {})
  const { id } = parseJoinToken(token)
  if (how === 'used-up') asked.apply({ kind: 'token-use', id, node: n2 })
  if (how === 'revoked') asked.apply({ kind: 'token-revoke', id })
  if (how === 'expired') asked.logTime += 1000
  asked.done.length = 0
  return token
}

function expectTold(asked: Asked, told: { code: string; message: string | undefined; node: NodeId | null }): void {
  const { code, message, node } = told
  expect(asked.lines).toMatchObject([
    { event: 'join-refused', fields: { code, node, address: '10.0.0.4:999', error: { code, message } } },
  ])
}
