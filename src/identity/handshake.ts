import { assert, unreachable } from '../std/assert.ts'
import type {
  AdmitPeer,
  ConnectionHello,
  HandshakeMessage,
  HandshakeRefusalCode,
  PeerHello,
  SentHello,
  WireVersions,
} from '../vocabulary/handshake.ts'
import type { NodeId } from '../vocabulary/ids.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import type { ErrorCode } from '../vocabulary/operating-error.ts'
import type { ClusterSecret } from './secret.ts'

/**
 * One connection's handshake, as a state machine on values: dialer hello -> acceptor hello and proof -> dialer proof ->
 * acceptor welcome, or a refusal at any point. It guarantees that nothing but the version range is believed of a peer that
 * has not proven the secret over both hellos, and that a refusal can end this node only when its sender has proven it
 * too. Two sides without a common version still prove the secret to each other, so that both know who they refuse.
 * Sockets, deadlines and what else is connected are the transport's.
 */
export class Handshake {
  readonly #options: HandshakeOptions
  readonly #ownHello: ConnectionHello
  #state: 'start' | 'await-hello' | 'await-proof' | 'deciding' | 'await-welcome' | 'done'
  #received: SentHello | null = null
  #peer: PeerHello | null = null
  #hasProven = false

  constructor(options: HandshakeOptions) {
    assert(options.own.hello !== null, 'the own hello can always be read')
    this.#options = options
    this.#ownHello = options.own.hello
    this.#state = options.role === 'dialer' ? 'start' : 'await-hello'
  }

  /** The dialer speaks first; an acceptor waits. */
  start(): HandshakeStep {
    assert(this.#state === 'start', 'only a dialer starts, once')
    this.#state = 'await-hello'
    return { kind: 'waiting', send: [{ kind: 'dialer-hello', hello: this.#options.own }] }
  }

  receive(message: HandshakeMessage): HandshakeStep {
    if (this.#state === 'done') return { kind: 'waiting', send: [] }
    switch (message.kind) {
      case 'dialer-hello':
        if (this.#options.role !== 'acceptor' || this.#state !== 'await-hello') return this.#outOfTurn(message)
        return this.#answerHello(message.hello)
      case 'acceptor-hello':
        if (this.#options.role !== 'dialer' || this.#state !== 'await-hello') return this.#outOfTurn(message)
        this.#received = message.hello
        return this.#checkProof(message.proof)
      case 'dialer-proof':
        if (this.#options.role !== 'acceptor' || this.#state !== 'await-proof') return this.#outOfTurn(message)
        return this.#checkProof(message.proof)
      case 'welcome':
        if (this.#state !== 'await-welcome') return this.#outOfTurn(message)
        return this.#open([])
      case 'refuse':
        return this.#refusedByPeer(message)
      default:
        return unreachable(message)
    }
  }

  /** After `proven`, when the transport has nothing against the peer: asks `admit` and goes on. */
  admit(): HandshakeStep {
    assert(this.#state === 'deciding' && this.#peer !== null, 'only a proven peer can be admitted')
    const error = this.#options.admit(this.#peer)
    if (error !== null && fatalCodes.has(error.code) && this.#options.isOutgrown()) {
      // Since the hellos this node got what the peer seems to lack; the peer may have got it too, so nobody is alarmed.
      const again = this.#refusal('already-connected', 'the cluster formed during this handshake; another one tells')
      return this.#end({ why: 'outgrown' }, [again])
    }
    if (error !== null) return this.refuse(error)
    if (this.#options.role === 'acceptor') return this.#open([{ kind: 'welcome' }])
    this.#state = 'await-welcome'
    return { kind: 'waiting', send: [{ kind: 'dialer-proof', proof: this.#prove('proof', []) }] }
  }

  refuse(error: OperatingError): HandshakeStep {
    return this.#refuse(error, false)
  }

  /** Another connection of this lane won, or is about to: the peer is told, nobody is alarmed. */
  giveWay(): HandshakeStep {
    const peer = this.#peer
    assert(peer !== null, 'gives way to a proven peer only')
    const send = [this.#refusal('already-connected', 'another connection of this lane is kept')]
    return this.#end({ why: 'already-connected', peer }, send)
  }

  #answerHello(received: SentHello): HandshakeStep {
    this.#received = received
    this.#state = 'await-proof'
    const proof = this.#prove('proof', [])
    return { kind: 'waiting', send: [{ kind: 'acceptor-hello', hello: this.#options.own, proof }] }
  }

  #checkProof(proof: Uint8Array): HandshakeStep {
    const { role, secret } = this.#options
    this.#hasProven = secret.verify(proof, label(other(role), 'proof'), this.#transcript())
    const mismatch = this.#mismatch()
    if (mismatch !== null) return this.#refuse(mismatch, false)
    if (!this.#hasProven) {
      const message = 'the other side could not prove the cluster secret; cluster.secret must be the same on every node'
      return this.#refuse(new OperatingError('wrong-secret', message), false)
    }
    const peer = this.#received?.hello?.peer
    assert(peer !== undefined, 'a hello of a common version can be read')
    this.#peer = peer
    return this.#checkPeer(peer)
  }

  /** Why no version is common, and the way out. */
  #mismatch(): OperatingError | null {
    const own = this.#options.own.versions
    const theirs = this.#received?.versions
    if (theirs === undefined) return null
    const [older, newer] = own.max < theirs.min ? [own, theirs] : [theirs, own]
    if (this.#received?.hello !== null && newer.min <= older.max) return null
    const ranges = `this node speaks ${rangeText(own)} and the other ${rangeText(theirs)}`
    const wayOut = `the older one has to go through a release that speaks both ${older.max} and ${newer.min}`
    return new OperatingError('incompatible-version', `${ranges}; ${wayOut}`)
  }

  /** In this order, so that a message names the first thing that is wrong. */
  #checkPeer(peer: PeerHello): HandshakeStep {
    const own = this.#ownHello
    const theirs = this.#received?.hello
    if (theirs?.kind !== own.kind || theirs.lane !== own.lane) {
      const message = `the connection is of ${own.kind}/${own.lane}, not ${theirs?.kind}/${theirs?.lane}`
      return this.#refuse(new OperatingError('bad-request', message), false)
    }
    if (peer.clusterName !== own.peer.clusterName) {
      const names = `"${own.peer.clusterName}" (${own.peer.node}) and "${peer.clusterName}" (${peer.node})`
      return this.#refuse(new OperatingError('wrong-cluster', `the nodes are of two clusters: ${names}`), false)
    }
    if (peer.clusterId !== null && own.peer.clusterId !== null && peer.clusterId !== own.peer.clusterId) {
      const ids = `${own.peer.clusterId} (${own.peer.node}) and ${peer.clusterId} (${peer.node})`
      const message = `two clusters are called "${peer.clusterName}": ${ids}; when one was restored or recovered, a node of the other joins it with an empty data directory`
      return this.#refuse(new OperatingError('wrong-cluster', message), false)
    }
    if (peer.boot === own.peer.boot) return this.#end({ why: 'self' }, [])
    if (peer.node === own.peer.node) {
      const message = `two live processes have the node id ${peer.node}; one of them must get another node.id or stop`
      return this.#refuse(new OperatingError('duplicate-node', message), yieldsTo(own.peer, peer))
    }
    this.#state = 'deciding'
    return { kind: 'proven', peer }
  }

  #open(send: readonly HandshakeMessage[]): HandshakeStep {
    assert(this.#peer !== null && this.#received !== null, 'only a proven peer is welcome')
    this.#state = 'done'
    const version = Math.min(this.#options.own.versions.max, this.#received.versions.max)
    return { kind: 'open', peer: this.#peer, version, send }
  }

  #refuse(error: OperatingError, fatal: boolean): HandshakeStep {
    const send = [this.#refusal(error.code, error.message)]
    return this.#end({ why: 'refused', by: 'us', error, node: this.#provenNode(), fatal }, send)
  }

  #refusedByPeer(message: HandshakeMessage & { kind: 'refuse' }): HandshakeStep {
    const { role, secret } = this.#options
    const peer = this.#received?.hello?.peer ?? null
    const trusted =
      this.#received !== null &&
      secret.verify(message.proof, label(other(role), 'refusal'), [
        ...this.#transcript(),
        utf8.encode(message.code),
        utf8.encode(message.message),
      ])
    const proven = trusted ? peer : null
    this.#hasProven ||= trusted
    // In this node's own words.
    const mismatch = this.#mismatch()
    if (mismatch !== null) {
      return this.#end({ why: 'refused', by: 'peer', error: mismatch, node: this.#provenNode(), fatal: false }, [])
    }
    if (message.code === 'already-connected') return this.#end({ why: 'already-connected', peer: proven }, [])
    const spared = proven?.node === this.#ownHello.peer.node && !yieldsTo(this.#ownHello.peer, proven)
    const fatal = trusted && fatalCodes.has(message.code) && !spared
    if (fatal && this.#options.isOutgrown()) return this.#end({ why: 'outgrown' }, [])
    const node = proven?.node ?? null
    const error = new OperatingError(
      message.code,
      `refused by ${node ?? 'the other side'}: ${printable(message.message)}`,
    )
    return this.#end({ why: 'refused', by: 'peer', error, node, fatal }, [])
  }

  #outOfTurn(message: HandshakeMessage): HandshakeStep {
    return this.#end({ why: 'malformed', detail: `${message.kind} out of turn` }, [])
  }

  #end(end: HandshakeEnd, send: readonly HandshakeMessage[]): HandshakeStep {
    this.#state = 'done'
    return { kind: 'ended', end, send }
  }

  #refusal(code: HandshakeRefusalCode, text: string): HandshakeMessage {
    // What would not fit the codec's limit is cut here, before it is proven.
    const message = printable(text)
    // Towards one who has not proven the secret nothing is proven either, and no oracle is offered.
    const proof = this.#hasProven
      ? this.#prove('refusal', [utf8.encode(code), utf8.encode(message)])
      : new Uint8Array(0)
    return { kind: 'refuse', code, message, proof }
  }

  #provenNode(): NodeId | null {
    return this.#hasProven ? (this.#received?.node ?? null) : null
  }

  #prove(what: 'proof' | 'refusal', more: readonly Uint8Array[]): Uint8Array {
    return this.#options.secret.prove(label(this.#options.role, what), [...this.#transcript(), ...more])
  }

  /** Both hellos as sent, the dialer's first. */
  #transcript(): Uint8Array[] {
    assert(this.#received !== null, 'a transcript needs both hellos')
    const own = this.#options.own.bytes
    return this.#options.role === 'dialer' ? [own, this.#received.bytes] : [this.#received.bytes, own]
  }
}

export type HandshakeRole = 'dialer' | 'acceptor'

export type HandshakeOptions = {
  readonly role: HandshakeRole
  readonly own: SentHello
  readonly secret: ClusterSecret
  readonly admit: AdmitPeer
  /**
   * True once this node belongs, or has promised itself, to a cluster that its own hello did not name yet. Then one side
   * may take the other for a node that lost its data; another handshake tells the truth.
   */
  readonly isOutgrown: () => boolean
}

/** What to do next: send the messages, in order; then what `kind` says. */
export type HandshakeStep =
  | { readonly kind: 'waiting'; readonly send: readonly HandshakeMessage[] }
  /** The peer has proven the secret: look at what else is connected, then `admit`, `refuse` or `giveWay`. */
  | { readonly kind: 'proven'; readonly peer: PeerHello }
  | {
      readonly kind: 'open'
      readonly peer: PeerHello
      /** The wire version to speak from now on. */
      readonly version: number
      readonly send: readonly HandshakeMessage[]
    }
  | { readonly kind: 'ended'; readonly end: HandshakeEnd; readonly send: readonly HandshakeMessage[] }

export type HandshakeEnd =
  | { readonly why: 'self' }
  /** `peer` is null when the other side said so without proof. */
  | { readonly why: 'already-connected'; readonly peer: PeerHello | null }
  /** One side judged by a hello that may no longer be true, as the cluster formed meanwhile: try again. */
  | { readonly why: 'outgrown' }
  | { readonly why: 'malformed'; readonly detail: string }
  | {
      readonly why: 'refused'
      readonly by: 'us' | 'peer'
      readonly error: OperatingError
      /** Who the other side is, when it has proven the secret. */
      readonly node: NodeId | null
      /** This node must not go on. */
      readonly fatal: boolean
    }

export const nonceBytes = 32

/** Cut to this many characters; the codec allows no more. */
export const refusalMessageCharsMax = 500

const fatalCodes: ReadonlySet<HandshakeRefusalCode> = new Set<ErrorCode>(['wiped-node', 'duplicate-node'])
const utf8 = new TextEncoder()

function rangeText({ min, max }: WireVersions): string {
  return min === max ? `wire version ${min}` : `wire versions ${min} to ${max}`
}

function other(role: HandshakeRole): HandshakeRole {
  return role === 'dialer' ? 'acceptor' : 'dialer'
}

/** Different for each direction and use, so that no proof can be reflected or used for something else. */
function label(role: HandshakeRole, what: 'proof' | 'refusal'): string {
  return `quorate handshake 1, ${role}, ${what}`
}

/**
 * Which of two processes with one node id must stop; both sides come to the same answer. One that belongs to no cluster
 * yields to one that does; else the one that started on the younger data (a copied directory counts on from its origin).
 */
function yieldsTo(own: PeerHello, peer: PeerHello): boolean {
  if ((own.clusterId === null) !== (peer.clusterId === null)) return own.clusterId === null
  if (own.generation !== peer.generation) return own.generation > peer.generation
  return own.boot > peer.boot
}

/** Foreign text on its way to a log or a terminal. */
export function printable(text: string): string {
  const cut = text.length > refusalMessageCharsMax ? `${text.slice(0, refusalMessageCharsMax - 3)}...` : text
  // Half a character, too, which would not arrive as it was proven.
  return cut.replaceAll(/[\p{Cc}\p{Cf}\p{Cs}]/gu, ' ')
}
