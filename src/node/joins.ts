import { assert, InvariantError } from '../std/assert.ts'
import type { Clock } from '../std/clock.ts'
import type { ClusterId, NodeId } from '../vocabulary/ids.ts'
import type { JoinAnswer, JoinGrant, JoinRequest, SentJoinRequest } from '../vocabulary/join.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import type { ErrorCode } from '../vocabulary/operating-error.ts'
import { httpStatus } from '../admin/http-status.ts'
import { checkJoinRequest, refuseJoiner, welcomeJoiner } from '../identity/join-exchange.ts'
import type { JoinKey } from '../identity/join-key.ts'
import { joinKeyOf } from '../identity/join-token.ts'
import { ClusterSecret } from '../identity/secret.ts'
import type { Log } from '../log/log.ts'
import type { TokenRefusal } from '../state/command.ts'
import type { AnswerPost } from '../transport/plain-posts.ts'
import { RefusalReports } from '../transport/refusal-reports.ts'
import { wireVersions } from '../wire/handshake-codec.ts'
import { decodeJoinBody, encodeJoinAnswer, encodeJoinGrant } from '../wire/join-codec.ts'
import type { Cluster } from './cluster.ts'

/**
 * How this node lets others in: whoever proves a join token that the cluster's state still knows becomes a learner, and is
 * told the secret. Every step may be done twice, so whoever was not answered, as when the leader died in between, asks
 * again, here or elsewhere. What is refused is logged here as it is told.
 */
export class Joins {
  readonly #options: JoinsOptions
  readonly #secret: ClusterSecret
  /** What is said to who has proven nothing is not said at every try. */
  readonly #reports = new RefusalReports()

  constructor(options: JoinsOptions) {
    this.#options = options
    this.#secret = ClusterSecret.from(options.secret)
  }

  readonly answer: AnswerPost = async ({ body, from, signal }) => {
    const sent = decodeJoinBody(body)
    if ('malformed' in sent) {
      const error = new OperatingError('bad-request', `what was sent is no request to join: ${sent.malformed}`)
      return this.#refused(error, { from, node: null, proven: null })
    }
    const { clock, clusterId, clusterName } = this.#options
    const cluster = clusterId()
    if (cluster === null) {
      const error = new OperatingError('no-leader', 'this node belongs to no cluster yet; ask another, or later')
      return this.#refused(error, { from, node: sent.request?.node ?? null, proven: null })
    }
    const check = checkJoinRequest(sent, {
      clusterId: cluster,
      clusterName,
      keyOf: (named, id) => joinKeyOf(this.#secret, { clusterId: named, id }),
      now: clock.now(),
      versions: wireVersions,
    })
    const { key } = check
    const to = { from, node: sent.request?.node ?? null, proven: key === null ? null : { key, sent: sent.bytes } }
    if (check.kind === 'refused') return this.#refused(check.error, to)
    try {
      return await this.#welcome(sent, { ...check, cluster, from, signal })
    } catch (error) {
      return this.#refused(operatingError(error), to)
    }
  }

  async #welcome(sent: SentJoinRequest, joiner: Proven): Promise<Answered> {
    const { key, request, cluster, from, signal } = joiner
    const { log, secret, clusterName, cluster: state } = this.#options
    await this.#untilDone(() => this.#letIn(request), signal)
    const peers = state.state.members().flatMap(({ addresses: { peer } }) => (peer === '' ? [] : [peer]))
    const grant: JoinGrant = { clusterId: cluster, clusterName, secret, peers: peers.slice(0, peersMax) }
    const answer = welcomeJoiner(encodeJoinGrant(grant), { key, sent: { bytes: sent.bytes, request } })
    if (answer === null) throw new OperatingError('bad-request', "the joiner's key is none to agree on a secret with")
    log.info('join-granted', { node: request.node, address: from, by: request.tokenId, version: request.version })
    return answered(200, answer)
  }

  /** Once; refused for good, or with what may be otherwise at the next try. */
  async #letIn({ node, tokenId }: JoinRequest): Promise<void> {
    const { cluster } = this.#options
    await cluster.barrier(stepMs)
    const wasUsed = cluster.state.token(tokenId)?.usedBy.includes(node) === true
    this.#refuseKnown(node, wasUsed)
    const used = await cluster.propose({ kind: 'token-use', id: tokenId, node }, stepMs)
    if (used.kind === 'refused') throw tokenRefused(tokenId, used.reason)
    if (this.#configuration().learners.includes(node)) return
    await cluster.change({ kind: 'add-learner', node, promote: false }, stepMs)
  }

  /** But for who is let in by this very join, and has not come up yet. */
  #refuseKnown(node: NodeId, wasUsed: boolean): void {
    const { cluster, isAlive } = this.#options
    const { voters, votersOutgoing, learners } = this.#configuration()
    const isListed = cluster.state.members().some((member) => member.node === node)
    const isVoter = voters.includes(node) || votersOutgoing.includes(node)
    if (!isVoter && !learners.includes(node)) {
      if (!isListed) return
      throw new OperatingError('change-under-way', `node ${node} has just been taken out; ask again`)
    }
    if (wasUsed && !isVoter && !isListed) {
      if (!isAlive(node)) return
      // Who asks has not come up, so it is another one; or an earlier life, of which gossip hears soon.
      throw new OperatingError(
        'change-under-way',
        `a node ${node}, let in by this token, is up already and will be in the directory in a moment; ask again, or give this one another node.id`,
      )
    }
    throw isAlive(node)
      ? new OperatingError(
          'duplicate-node',
          `a live node of the cluster has the id ${node} already: give the new one another node.id, with an empty data directory; if ${node} died a moment ago and has lost its data, take it out first (quorate node remove ${node})`,
        )
      : new OperatingError(
          'wiped-node',
          `the cluster has a node ${node} already, which does not answer: if it has lost its data directory, take it out first (quorate node remove ${node}) and start it again; else give the new one another node.id`,
        )
  }

  /** As applied here, which is as new as the read before it. */
  #configuration(): NonNullable<Cluster['position']>['configuration'] {
    const { position } = this.#options.cluster
    assert(position !== null, 'a state that was read is of a log')
    return position.configuration
  }

  async #untilDone(step: () => Promise<void>, signal: AbortSignal): Promise<void> {
    const { clock } = this.#options
    const untilMs = clock.monotonic() + grantMs
    for (;;) {
      try {
        return await step()
      } catch (error) {
        const mayPass = error instanceof OperatingError && passing.has(error.code)
        if (!mayPass || signal.aborted || clock.monotonic() >= untilMs) throw error
      }
      await new Promise<void>((resolve) => void clock.after(retryMs, resolve))
    }
  }

  #refused(error: OperatingError, { from, node, proven }: Refused): Answered {
    const { code } = error
    const host = from.slice(0, from.lastIndexOf(':'))
    // By code, of which there are few: a message holds what the stranger has chosen.
    if (proven !== null || this.#reports.isNews(`${host} ${code}`, code)) {
      this.#options.log.warn('join-refused', { code, address: from, node, error })
    }
    return answered(httpStatus[code], refuseJoiner(error, proven))
  }
}

export type JoinsOptions = {
  readonly clusterName: string
  readonly secret: string
  /** Null: this node is of none yet. */
  readonly clusterId: () => ClusterId | null
  readonly cluster: Pick<Cluster, 'barrier' | 'propose' | 'change' | 'position' | 'state'>
  readonly isAlive: (node: NodeId) => boolean
  readonly clock: Clock
  readonly log: Log
}

/** From a request's body to its answer: what the listener waits for, which is a little longer than what is tried here. */
export const joinAnswerMs = 15_000
const grantMs = 10_000
/** One step of it: a read, a proposal. */
const stepMs = 3000
const retryMs = 100
/** Enough to find the others by; all of them are in the state that the joiner gets. */
const peersMax = 16

type Answered = { readonly status: number; readonly text: string }
type Refused = {
  readonly from: string
  readonly node: NodeId | null
  readonly proven: { readonly key: JoinKey; readonly sent: Uint8Array } | null
}
type Proven = {
  readonly key: JoinKey
  readonly request: JoinRequest
  readonly cluster: ClusterId
  readonly from: string
  readonly signal: AbortSignal
}

/** What an election, another change or a busy moment explains; `change-refused`: another try of the same join was first. */
const passing: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'no-leader',
  'no-quorum',
  'overloaded',
  'timeout',
  'outcome-unknown',
  'change-under-way',
  'change-refused',
])

const tokenAdvice: Readonly<Record<TokenRefusal, string>> = {
  unknown: 'is not known here: it expired long ago, or the cluster has been recovered since',
  expired: 'has expired',
  'used-up': 'has let in as many nodes as it may',
  revoked: 'was revoked',
}

function tokenRefused(id: string, reason: string): OperatingError {
  const advice = Object.entries(tokenAdvice).find(([refusal]) => refusal === reason)?.[1] ?? reason
  return new OperatingError('token-refused', `join token ${id} ${advice}: make one with: quorate token create`)
}

function answered(status: number, answer: JoinAnswer): Answered {
  return { status, text: encodeJoinAnswer(answer) }
}

/** What is no operating error is an accident of ours; a broken invariant ends the node, as everywhere. */
function operatingError(error: unknown): OperatingError {
  if (error instanceof OperatingError) return error
  if (error instanceof InvariantError) throw error
  return new OperatingError('internal', 'this node could not answer; its log has the cause', { cause: error })
}
