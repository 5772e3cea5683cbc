import { randomBytes } from 'node:crypto'
import type { WireVersions } from '../vocabulary/handshake.ts'
import type { ClusterId } from '../vocabulary/ids.ts'
import { clockSkewMaxMs } from '../vocabulary/join.ts'
import type { JoinAnswer, JoinRequest, SentJoinRequest } from '../vocabulary/join.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import type { ErrorCode } from '../vocabulary/operating-error.ts'
import { nonceBytes, printable } from './handshake.ts'
import { ExchangeKey } from './join-key.ts'
import type { JoinKey } from './join-key.ts'

/**
 * Both sides of one join, as decisions on values. The joiner believes nothing that is not proven by the token's key over its
 * own request, so no answer to another request counts; the node that is asked gives nothing to who has not proven the
 * token. What a token allows, and what the cluster's configuration says, is decided elsewhere.
 */
export class JoinAttempt {
  readonly request: JoinRequest
  readonly #exchangeKey = new ExchangeKey()

  constructor(said: Omit<JoinRequest, 'key' | 'nonce'>) {
    const nonce = new Uint8Array(randomBytes(nonceBytes))
    this.request = { ...said, key: this.#exchangeKey.publicBytes, nonce }
  }

  /** `sent`: the request's bytes. */
  prove(key: JoinKey, sent: Uint8Array): Uint8Array {
    return key.prove(labels.request, [sent])
  }

  /** What an answer to the request is worth. */
  read(answer: JoinAnswer, { key, sent }: { readonly key: JoinKey; readonly sent: Uint8Array }): JoinOutcome {
    if (answer.kind === 'refuse') {
      const { code, message, proof } = answer
      const isProven = key.verify(proof, labels.refusal, [sent, ...refusalParts(code, message)])
      return { kind: 'refused', isProven, error: new OperatingError(code, printable(message)) }
    }
    if (!key.verify(answer.proof, labels.welcome, [sent, answer.key, answer.sealed])) return notBelieved
    const grant = key.open(answer.sealed, {
      own: this.#exchangeKey,
      theirs: answer.key,
      about: key.prove(labels.sealed, [sent, answer.key]),
    })
    return grant === null ? notBelieved : { kind: 'welcome', grant }
  }
}

export type JoinOutcome =
  /** `grant`: the bytes that were sealed. */
  | { readonly kind: 'welcome'; readonly grant: Uint8Array }
  | { readonly kind: 'refused'; readonly isProven: boolean; readonly error: OperatingError }
  /** It claims to let this node in, and does not prove that it may. */
  | { readonly kind: 'not-believed' }

/** What a node that is asked finds before it looks at token, configuration or directory. */
export function checkJoinRequest(sent: SentJoinRequest, asked: AskedNode): JoinCheck {
  const { clusterId, clusterName, now, versions } = asked
  // By the cluster that the token names: one that was made here before the cluster was recovered is told from a made-up one.
  const key = asked.keyOf(sent.clusterId, sent.tokenId)
  const hasProven = key.verify(sent.proof, labels.request, [sent.bytes])
  const proven = hasProven ? key : null
  const refuse = (code: ErrorCode, message: string): JoinCheck => ({
    kind: 'refused',
    key: proven,
    error: new OperatingError(code, message),
  })
  if (sent.clusterId !== clusterId) {
    return refuse(
      'wrong-cluster',
      `the join token is of cluster ${sent.clusterId}, this node of cluster "${clusterName}" (${clusterId}): join by an address of the token's cluster, or make a token here with: quorate token create`,
    )
  }
  if (!hasProven) {
    return refuse(
      'token-refused',
      `the join token was not made by cluster "${clusterName}", or was changed since: make one with: quorate token create`,
    )
  }
  const { request } = sent
  if (request === null) {
    const range = ({ min, max }: WireVersions): string => (min === max ? `version ${min}` : `versions ${min} to ${max}`)
    return refuse(
      'incompatible-version',
      `the cluster speaks ${range(versions)} of the wire, the node that would join ${range(sent.versions)}: start it with the cluster's release, or upgrade the cluster first`,
    )
  }
  if (request.clusterName !== null && request.clusterName !== clusterName) {
    return refuse(
      'wrong-cluster',
      `the cluster is called "${clusterName}", the configuration of node ${request.node} says "${request.clusterName}": take cluster.name away there, or set it alike`,
    )
  }
  const skewMs = request.clock - now
  if (Math.abs(skewMs) > clockSkewMaxMs) {
    const apart = `${Math.round(Math.abs(skewMs) / 1000)} s ${skewMs > 0 ? 'ahead of' : 'behind'}`
    return refuse(
      'clock-skew',
      `the clock of node ${request.node} is ${apart} the cluster's, more than ${clockSkewMaxMs / 1000} s: set it, for example by NTP, and start the node again`,
    )
  }
  return { kind: 'proven', key, request }
}

export type AskedNode = {
  readonly clusterId: ClusterId
  readonly clusterName: string
  readonly keyOf: (clusterId: ClusterId, tokenId: string) => JoinKey
  readonly now: number
  readonly versions: WireVersions
}

export type JoinCheck =
  | { readonly kind: 'proven'; readonly key: JoinKey; readonly request: JoinRequest }
  /** `key`: null when the token was not proven, to whom nothing is proven either. */
  | { readonly kind: 'refused'; readonly key: JoinKey | null; readonly error: OperatingError }

/** Null: the joiner's key is none. */
export function welcomeJoiner(
  grant: Uint8Array,
  to: { readonly key: JoinKey; readonly sent: Joining },
): Welcome | null {
  const { key, sent } = to
  const own = new ExchangeKey()
  const about = key.prove(labels.sealed, [sent.bytes, own.publicBytes])
  const sealed = key.seal(grant, { own, theirs: sent.request.key, about })
  if (sealed === null) return null
  const proof = key.prove(labels.welcome, [sent.bytes, own.publicBytes, sealed])
  return { kind: 'welcome', key: own.publicBytes, sealed, proof }
}

export function refuseJoiner(error: OperatingError, to: RefusedJoiner): JoinAnswer {
  const { code } = error
  // What would not fit the codec's limit is cut here, before it is proven.
  const message = printable(error.message)
  const proof = to?.key.prove(labels.refusal, [to.sent, ...refusalParts(code, message)]) ?? new Uint8Array(0)
  return { kind: 'refuse', code, message, proof }
}

type Joining = { readonly bytes: Uint8Array; readonly request: JoinRequest }
type Welcome = JoinAnswer & { readonly kind: 'welcome' }
/** Null: one who has not proven the token. */
type RefusedJoiner = { readonly key: JoinKey; readonly sent: Uint8Array } | null

/** Different for each direction and use, so that no proof can be reflected or used for something else. */
const labels = {
  request: 'quorate join 1, request',
  welcome: 'quorate join 1, welcome',
  refusal: 'quorate join 1, refusal',
  sealed: 'quorate join 1, sealed',
} as const

const notBelieved = { kind: 'not-believed' } as const

function refusalParts(code: string, message: string): Uint8Array[] {
  return [Buffer.from(code), Buffer.from(message)]
}
