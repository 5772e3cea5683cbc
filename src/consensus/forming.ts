import { assert, unreachable } from '../std/assert.ts'
import { encodeConfiguration, makeConfiguration } from '../raft/configuration.ts'
import type { Entry, HardState } from '../raft/entry.ts'
import type { FormingPromise } from '../storage/log-store.ts'
import { compareIds } from '../vocabulary/ids.ts'
import type { ClusterId, NodeId, ProposalId } from '../vocabulary/ids.ts'
import type { FormingMessage } from '../wire/forming.ts'

/**
 * The core that brings a cluster into being: all founders must be there, the lowest id proposes, each founder promises once
 * in its life, and only when all have is entry 1 written, alike by everyone. So no two clusters can come out of one set of
 * founders, whenever any of them crashes. A node that is bound to no cluster joins, once in its life, the first formed one
 * that lets it in. It waits for nobody itself: events come in, effects go out.
 */
export class Forming {
  readonly #options: FormingOptions
  readonly #peers = new Map<NodeId, FormingPeer>()
  /** Peers of this connection's life that said that their promise is durable; the proposer counts them. */
  readonly #answered = new Set<NodeId>()
  /** Durable in the states `promised` and after; never changed once set. */
  #promise: FormingPromise | null
  #joined: ClusterId | null
  #state: 'alone' | 'promising' | 'promised' | 'forming' | 'formed' | 'joining' | 'joined'
  #effects: { -readonly [Key in keyof FormingEffects]: FormingEffects[Key] } = noEffects()

  constructor(options: FormingOptions) {
    const { promise, joined, formed } = options
    this.#options = options
    this.#promise = promise
    this.#joined = joined
    this.#state = stateAtStart(options)
    assert(
      formed === null || promise === null || promise.clusterId === formed,
      `formed ${formed}, promised ${promise?.clusterId}`,
    )
    this.#advance()
  }

  /** The cluster id that this node is bound to, once that is durable. */
  get promised(): ClusterId | null {
    return this.#state === 'promised' || this.#state === 'forming' || this.#state === 'formed'
      ? this.#clusterId()
      : null
  }

  /** The cluster that this node joins or has joined. */
  get joined(): ClusterId | null {
    return this.#joined
  }

  step(event: FormingEvent): void {
    switch (event.kind) {
      case 'peer-opened':
        return this.#peerOpened(event)
      case 'peer-closed':
        this.#peers.delete(event.peer)
        this.#answered.delete(event.peer)
        return undefined
      case 'message':
        return this.#receive(event.from, event.message)
      case 'promise-durable':
        assert(this.#state === 'promising', 'a promise that was not asked for became durable')
        this.#state = 'promised'
        return this.#speak()
      case 'formed-durable':
        assert(this.#state === 'forming', 'entry 1 became durable unasked')
        this.#state = 'formed'
        return this.#speak()
      case 'joined-durable':
        assert(this.#state === 'joining', 'a cluster was joined unasked')
        this.#state = 'joined'
        return undefined
      case 'tick':
        return this.#state === 'formed' ? undefined : this.#speak()
      default:
        return unreachable(event)
    }
  }

  take(): FormingEffects {
    const effects = this.#effects
    this.#effects = noEffects()
    return effects
  }

  /** Who is missing, as a sentence; null once formed. */
  waitingFor(): string | null {
    if (this.#state === 'formed') return null
    if (this.#joined !== null)
      return `cluster ${this.#joined} has let this node in; waiting for its leader to send the log`
    const refusals = [...this.#peers.values()].flatMap(({ why }) => (why === null ? [] : [why]))
    return [this.#missing(), ...refusals].join('; ')
  }

  #missing(): string {
    const { self, bootstrapExpect, isLogLost } = this.#options
    const promise = this.#promise
    if (isLogLost && (promise === null || promise.voters.length === 1))
      return `the log of ${self} is lost, and no other node is known to have it: restore a snapshot, or let ${self} join with an empty data directory and a new id`
    if (promise !== null) {
      const agreed = `cluster ${promise.clusterId} of ${promise.voters.join(', ')} is agreed`
      const others = promise.voters.filter((id) => id !== self && !this.#answered.has(id))
      if (this.#state === 'forming' || others.length === 0) return `${agreed}; writing it down`
      const whom = this.#isProposer(promise) ? `the promise of ${others.join(', ')}` : `${promise.voters[0]} to form it`
      const away = others.filter((id) => !this.#peers.has(id))
      const absent = away.length === 0 ? '' : ` (not connected: ${away.join(', ')})`
      return `${agreed}; waiting for ${whom}${absent}`
    }
    if (bootstrapExpect === null) {
      return `waiting for a cluster that takes this node in (it has no cluster.bootstrapExpect, so it never forms one): start it with a join token ("quorate token create" on one of the cluster's nodes makes one), or, as it has the secret, run "quorate raft add-learner ${self}" there`
    }
    const here = this.#founders()
    const count = `${here.length} of ${bootstrapExpect} nodes are here: ${here.join(', ')}`
    if (here.length < bootstrapExpect) return `${count}; waiting for ${bootstrapExpect - here.length} more`
    return `${count}; waiting for ${here[0]} to propose the cluster`
  }

  #peerOpened(event: FormingEvent & { kind: 'peer-opened' }): void {
    const { peer, clusterId, promised } = event
    if (!this.#peers.has(peer) && this.#peers.size >= formingPeersMax) {
      this.#notice('forming-peer-ignored', { peer, limit: formingPeersMax })
      return
    }
    this.#peers.set(peer, { clusterId, promised, why: null })
    if (this.#state === 'promised' && clusterId === this.#clusterId()) this.#form()
    else if (this.#state === 'alone' && clusterId !== null) this.#join(clusterId)
    else if (this.#state === 'alone') this.#advance()
    else this.#speakTo(peer)
  }

  /** A formed cluster has let this node in, which it does only with nodes that its configuration lists. */
  #join(clusterId: ClusterId): void {
    this.#joined = clusterId
    this.#state = 'joining'
    this.#effects.persistJoined = clusterId
  }

  /** Makes the promise once all founders are here and this node's id is the lowest of them. */
  #advance(): void {
    const { self, bootstrapExpect, isLogLost, newClusterId } = this.#options
    if (this.#state !== 'alone' || bootstrapExpect === null || isLogLost) return
    const founders = this.#founders()
    if (founders.length < bootstrapExpect || founders[0] !== self) return
    this.#makePromise({ clusterId: newClusterId, voters: founders.slice(0, bootstrapExpect) })
  }

  /** Everyone here, this node included, who is not bound to a cluster; the lowest id first. */
  #founders(): NodeId[] {
    const free = [...this.#peers].filter(([, { clusterId, promised }]) => clusterId === null && promised === null)
    return [this.#options.self, ...free.map(([id]) => id)].sort(compareIds)
  }

  #makePromise(promise: FormingPromise): void {
    this.#promise = promise
    this.#state = 'promising'
    this.#effects.persistPromise = promise
    for (const peer of this.#peers.values()) peer.why = null
  }

  #receive(from: NodeId, message: FormingMessage): void {
    const peer = this.#peers.get(from)
    if (peer === undefined) return undefined
    switch (message.kind) {
      case 'form-propose':
        return this.#answerProposal(from, message)
      case 'form-promised':
        if (this.#promise?.clusterId !== message.clusterId) return undefined
        this.#answered.add(from)
        return this.#state === 'formed' ? this.#speakTo(from) : this.#formWhenAllAnswered()
      case 'form-refused':
        if (peer.why === message.why) return undefined
        peer.why = message.why
        return this.#notice('forming-refused', { peer: from, why: message.why })
      case 'formed':
        if (this.#state === 'promised' && message.clusterId === this.#clusterId()) this.#form()
        return undefined
      default:
        return unreachable(message)
    }
  }

  #answerProposal(from: NodeId, proposal: FormingPromise): void {
    const why = this.#objection(from, proposal)
    if (why !== null) {
      this.#send(from, { kind: 'form-refused', why })
      this.#notice('forming-proposal-refused', { peer: from, why })
    } else if (this.#state === 'alone') {
      this.#makePromise({ clusterId: proposal.clusterId, voters: proposal.voters })
    } else {
      this.#speakTo(from)
    }
  }

  /** Why this node can not promise what is proposed; null when it can, or has. */
  #objection(from: NodeId, { clusterId, voters }: FormingPromise): string | null {
    const { self, bootstrapExpect, isLogLost, formed } = this.#options
    const promise = this.#promise
    const joined = this.#joined
    if (promise !== null || formed !== null || joined !== null) {
      if (clusterId === (promise?.clusterId ?? formed) && (promise?.voters ?? voters).join() === voters.join())
        return null
      return `${self} is bound to cluster ${promise?.clusterId ?? formed ?? joined} and can not form ${clusterId}; if that cluster never formed, stop its nodes, empty their data directories and start them together`
    }
    if (isLogLost) return `the log of ${self} is lost, and it may have formed another cluster`
    if (bootstrapExpect === null) return `${self} has no cluster.bootstrapExpect and never forms a cluster`
    if (voters.length !== bootstrapExpect)
      return `${from} proposes a cluster of ${voters.length}, ${self} has cluster.bootstrapExpect ${bootstrapExpect}; it must be alike on all`
    const isOrdered = voters.every((id, at) => at === 0 || compareIds(voters[at - 1] ?? '', id) < 0)
    if (!isOrdered || voters[0] !== from || !voters.includes(self))
      return `${from} proposes ${voters.join(', ')}, which is no list for it to propose to ${self}`
    return null
  }

  #formWhenAllAnswered(): void {
    const { self } = this.#options
    const promise = this.#promise
    if (this.#state !== 'promised' || promise === null || !this.#isProposer(promise)) return
    // Alone it can not tell whether it has formed before.
    if (this.#options.isLogLost && promise.voters.length === 1) return
    if (promise.voters.every((id) => id === self || this.#answered.has(id))) this.#form()
  }

  #form(): void {
    assert(this.#promise !== null, 'only what was promised is formed')
    this.#state = 'forming'
    this.#effects.form = firstOf(this.#promise)
  }

  /** Says to every peer what stands; also what was said before, since it may be lost. */
  #speak(): void {
    this.#formWhenAllAnswered()
    for (const peer of this.#peers.keys()) this.#speakTo(peer)
  }

  #speakTo(to: NodeId): void {
    const { self } = this.#options
    const promise = this.#promise
    const peer = this.#peers.get(to)
    if (peer === undefined || peer.clusterId !== null) return
    if (this.#state === 'formed') {
      if (promise === null || promise.voters.includes(to))
        this.#send(to, { kind: 'formed', clusterId: this.#clusterId() })
      return
    }
    if (this.#state !== 'promised' || promise === null) return
    if (!promise.voters.includes(to)) {
      if (!this.#isProposer(promise)) return
      const why = `cluster ${promise.clusterId} forms of ${promise.voters.join(', ')} (cluster.bootstrapExpect ${promise.voters.length}); ${to} came too late to be one of them`
      this.#send(to, { kind: 'form-refused', why })
    } else if (!this.#isProposer(promise)) {
      this.#send(to, { kind: 'form-promised', clusterId: promise.clusterId })
    } else if (!this.#answered.has(to) && !this.#options.isLogLost) {
      // Whoever has forgotten that it promised this would do it again, and count.
      this.#send(to, { kind: 'form-propose', clusterId: promise.clusterId, voters: promise.voters })
    }
    assert(to !== self, 'a node is no peer of itself')
  }

  #isProposer(promise: FormingPromise): boolean {
    return promise.voters[0] === this.#options.self
  }

  #clusterId(): ClusterId {
    const clusterId = this.#promise?.clusterId ?? this.#options.formed
    assert(clusterId !== null, 'a bound node knows its cluster')
    return clusterId
  }

  #send(to: NodeId, message: FormingMessage): void {
    this.#effects.send = [...this.#effects.send, { to, message }]
  }

  #notice(event: string, fields: FormingNotice['fields']): void {
    this.#effects.notices = [...this.#effects.notices, { event, fields }]
  }
}

export type FormingOptions = {
  readonly self: NodeId
  /** How many nodes found the cluster; null: this one never does. */
  readonly bootstrapExpect: number | null
  /** There was a log, and its damage left nothing of it: this node proposes no cluster, since it may have formed one. */
  readonly isLogLost: boolean
  /** What the data directory holds. */
  readonly promise: FormingPromise | null
  readonly joined: ClusterId | null
  /** The cluster of the log, when that is there already. */
  readonly formed: ClusterId | null
  /** Used if this node comes to propose. */
  readonly newClusterId: ClusterId
}

export type FormingEvent =
  | {
      readonly kind: 'peer-opened'
      readonly peer: NodeId
      /** As its handshake said. */
      readonly clusterId: ClusterId | null
      readonly promised: ClusterId | null
    }
  | { readonly kind: 'peer-closed'; readonly peer: NodeId }
  | { readonly kind: 'message'; readonly from: NodeId; readonly message: FormingMessage }
  /** The write of `persistPromise`, of `form`, of `persistJoined` is durable. */
  | { readonly kind: 'promise-durable' }
  | { readonly kind: 'formed-durable' }
  | { readonly kind: 'joined-durable' }
  /** Now and then, so that what was lost is said again. */
  | { readonly kind: 'tick' }

/** At most one of the three writes is asked for at a time, and the next only after its event. */
export type FormingEffects = {
  readonly persistPromise: FormingPromise | null
  readonly form: FormedLog | null
  readonly persistJoined: ClusterId | null
  readonly send: readonly { readonly to: NodeId; readonly message: FormingMessage }[]
  readonly notices: readonly FormingNotice[]
}

/** Worth a warning in the log. */
export type FormingNotice = { readonly event: string; readonly fields: Readonly<Record<string, unknown>> }

/** What every founder writes, byte for byte alike. */
export type FormedLog = { readonly hardState: HardState; readonly entry: Entry }

/** More peers than any cluster has founders; beyond it a peer is ignored with a notice. */
const formingPeersMax = 64

type FormingPeer = {
  readonly clusterId: ClusterId | null
  readonly promised: ClusterId | null
  /** The sentence with which it refused; null: it has not. */
  why: string | null
}

function stateAtStart({ promise, joined, formed }: FormingOptions): 'alone' | 'promised' | 'formed' | 'joined' {
  if (formed !== null) return 'formed'
  if (promise !== null) return 'promised'
  return joined === null ? 'alone' : 'joined'
}

function noEffects(): FormingEffects {
  return { persistPromise: null, form: null, persistJoined: null, send: [], notices: [] }
}

function firstOf({ clusterId, voters }: FormingPromise): FormedLog {
  const data = encodeConfiguration(makeConfiguration(clusterId, voters))
  return {
    hardState: { term: 1, vote: null, commit: 1, isRecovering: false },
    entry: { index: 1, term: 1, kind: 'configuration', id: '' as ProposalId, time: 0, data },
  }
}
