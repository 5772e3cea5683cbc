import { request } from 'node:http'
import type { BackoffLimits } from '../std/backoff.ts'
import { Backoff } from '../std/backoff.ts'
import type { Clock } from '../std/clock.ts'
import type { Random } from '../std/random.ts'
import { JoinAttempt } from '../identity/join-exchange.ts'
import type { JoinKey } from '../identity/join-key.ts'
import type { Log } from '../log/log.ts'
import { parseAddress } from '../vocabulary/addresses.ts'
import type { ClusterId, NodeId } from '../vocabulary/ids.ts'
import { joinBytesMax, joinPath } from '../vocabulary/join.ts'
import type { JoinGrant } from '../vocabulary/join.ts'
import { describeError, OperatingError } from '../vocabulary/operating-error.ts'
import type { ErrorCode } from '../vocabulary/operating-error.ts'
import { wireVersions } from '../wire/handshake-codec.ts'
import { decodeJoinAnswer, decodeJoinGrant, encodeJoinBody, encodeJoinRequest } from '../wire/join-codec.ts'

/**
 * Asks the nodes at some addresses, one after the other and round again, to take this node in by its join token. Ends when
 * one does, or refuses for good and proves that it may; what else goes wrong, as when a leader dies in mid-join, is tried
 * again, since a join may be repeated.
 */
export async function joinCluster(options: JoiningOptions): Promise<JoinGrant> {
  const { addresses, clock, random, signal, log, waiting } = options
  const backoff = new Backoff(backoffLimits, random)
  /** Why not, by address. */
  const said = new Map<string, string>()
  /** Rounds in a row in which all refused for good. */
  let refusedRounds = 0
  for (;;) {
    const refusals: OperatingError[] = []
    for (const address of addresses) {
      const outcome = await askOnce(address, options)
      if (signal.aborted) throw stopped()
      if (outcome.kind === 'welcome') return outcome.grant
      if (outcome.kind === 'refused' && outcome.isFinal) throw outcome.error
      if (outcome.kind === 'refused' && finalCodes.has(outcome.error.code)) refusals.push(outcome.error)
      const why = outcome.kind === 'refused' ? outcome.error.message : outcome.why
      if (said.get(address) === why) continue
      said.set(address, why)
      log.warn('join-waits', { address, why })
      waiting(why)
    }
    const [refusal] = refusals
    // None has proven it, but who else is there to say so?
    refusedRounds = refusals.length === addresses.length ? refusedRounds + 1 : 0
    if (refusal !== undefined && refusedRounds >= refusedRoundsMax) throw refusal
    await pause(clock, { ms: backoff.next(), signal })
    if (signal.aborted) throw stopped()
  }
}

export type JoiningOptions = {
  /** HOST:PORT of peer listeners. */
  readonly addresses: readonly string[]
  readonly token: { readonly id: string; readonly clusterId: ClusterId; readonly key: JoinKey }
  readonly node: NodeId
  /** As the configuration says; null: it does not. */
  readonly clusterName: string | null
  readonly version: string
  /** Ends it with `stopped`. */
  readonly signal: AbortSignal
  /** Told what it waits for, when that changes. */
  readonly waiting: (why: string) => void
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
}

const backoffLimits: BackoffLimits = { minMs: 200, maxMs: 5000 }
/** Longer than a node that is asked takes to answer. */
const answerMs = 20_000
/** So often in a row all addresses refuse without a proof before that is believed. */
const refusedRoundsMax = 3

/** What only an operator can change. */
const finalCodes: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'token-refused',
  'wrong-cluster',
  'duplicate-node',
  'wiped-node',
  'clock-skew',
  'incompatible-version',
])

type Outcome =
  | { readonly kind: 'welcome'; readonly grant: JoinGrant }
  | { readonly kind: 'refused'; readonly isFinal: boolean; readonly error: OperatingError }
  | { readonly kind: 'failed'; readonly why: string }

async function askOnce(address: string, options: JoiningOptions): Promise<Outcome> {
  const { token, node, clusterName, version, clock, signal } = options
  const attempt = new JoinAttempt({
    versions: wireVersions,
    tokenId: token.id,
    clusterId: token.clusterId,
    clusterName,
    node,
    clock: clock.now(),
    version,
  })
  const sent = encodeJoinRequest(attempt.request)
  const body = encodeJoinBody({ bytes: sent, proof: attempt.prove(token.key, sent) })
  const failed = (why: string): Outcome => ({ kind: 'failed', why: `join by ${address}: ${why}` })
  let answered: Answered
  try {
    answered = await post(address, { body, signal })
  } catch (error) {
    return failed(describeError(error))
  }
  const answer = decodeJoinAnswer(answered.body)
  if ('malformed' in answer) return failed(notAnswered(answered))
  const outcome = attempt.read(answer, { key: token.key, sent })
  if (outcome.kind === 'not-believed')
    return failed('who answers there does not know the join token, so it is no node of its cluster')
  if (outcome.kind === 'refused') {
    const { code, message } = outcome.error
    const error = new OperatingError(code, `join by ${address}: refused: ${message}`)
    return { kind: 'refused', isFinal: outcome.isProven && finalCodes.has(code), error }
  }
  const grant = decodeJoinGrant(outcome.grant)
  if ('malformed' in grant) return failed(`the answer can not be read: ${grant.malformed}`)
  return { kind: 'welcome', grant }
}

/** By what else than a node that takes joins the address may be. */
function notAnswered({ status }: Answered): string {
  switch (status) {
    case 408:
    case 429:
      return 'the node there is busy with other joins'
    case 426:
      return 'the address is of a raft listener, or of a node that knows no join tokens; name peer addresses (listen.peer)'
    default:
      return `what answers there (status ${status}) is no peer listener; name peer addresses (listen.peer)`
  }
}

type Answered = { readonly status: number; readonly body: Uint8Array }

function post(address: string, asked: { readonly body: string; readonly signal: AbortSignal }): Promise<Answered> {
  const { host, port } = parseAddress(address) ?? { host: address, port: 0 }
  const { body, signal } = asked
  return new Promise((resolve, reject) => {
    const sent = request({
      host,
      port,
      path: joinPath,
      method: 'POST',
      agent: false,
      signal: AbortSignal.any([signal, AbortSignal.timeout(answerMs)]),
      headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) },
    })
    sent.on('error', reject)
    sent.once('response', (response) => {
      const parts: Buffer[] = []
      let length = 0
      response.on('data', (part: Buffer) => {
        length += part.length
        if (length <= joinBytesMax) return void parts.push(part)
        reject(new Error(`it answers more than ${joinBytesMax} bytes`))
        return void sent.destroy()
      })
      response.on('error', reject)
      response.once('end', () =>
        resolve({ status: response.statusCode ?? 0, body: new Uint8Array(Buffer.concat(parts)) }),
      )
    })
    sent.end(body)
  })
}

function pause(clock: Clock, { ms, signal }: { readonly ms: number; readonly signal: AbortSignal }): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      timer.cancel()
      signal.removeEventListener('abort', done)
      resolve()
    }
    const timer = clock.after(ms, done)
    signal.addEventListener('abort', done)
  })
}

function stopped(): OperatingError {
  return new OperatingError('stopped', 'join the cluster: this node was stopped before it was let in')
}
