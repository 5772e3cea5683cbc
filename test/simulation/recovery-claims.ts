import type { Index, Term } from '../../src/raft/entry.ts'
import type { Message } from '../../src/raft/messages.ts'
import type { NodeId } from '../../src/vocabulary/ids.ts'

/** What one leader, in one term, may count one member for. */
type Trust = {
  /** So much of this leader's log the member has ever acknowledged; and since the leader was last told of a loss. */
  matchEver: Index
  match: Index
  /** The leader's answer to the member's loss: it counts again behind that entry. */
  told: { readonly nonce: number; readonly index: Index } | null
  /** The member has sent that back: it does not wait. */
  isWell: boolean
}

const promises = new Set<Message['kind']>(['vote-request', 'vote-response', 'append-accepted', 'snapshot-installed'])

/**
 * What must be true of nodes that have lost what they promised: they vote for nobody, ask for no votes and acknowledge
 * nothing before the leader of the term knows; and whom the leader knows of counts for nothing up to the entry that it was
 * told. Each check is null when it holds, else a claim and a sentence.
 */
export class RecoveryClaims {
  /** By leader and term, of each member: a leader that was away goes on with what it was told before. */
  readonly #trust = new Map<string, Map<NodeId, Trust>>()
  /** What a node's present process asked the leader of a term. */
  readonly #nonces = new Map<NodeId, Map<Term, number>>()

  booted(node: NodeId): void {
    this.#nonces.delete(node)
  }

  /** `durably`, `now`: whether the sender is recovering by its disk, and by its core, which knows first that it is not. */
  sent(message: Message, sender: { durably: boolean; now: boolean }): { claim: string; detail: string } | null {
    const { from, to, term } = message
    // What promises nothing durable need not wait for the disk.
    const isRecovering = sender.now || (sender.durably && promises.has(message.kind))
    const { kind } = message
    if (kind === 'recovery-request')
      this.#nonces.set(from, (this.#nonces.get(from) ?? new Map<Term, number>()).set(term, message.nonce))
    if (kind === 'recovery-response') {
      const own = this.#known(from, to, term)
      if (own?.told?.nonce !== message.nonce) return this.#answered({ leader: from, member: to, term }, message)
      // A member that does not wait for it sends it back: it is well.
      own.isWell = true
    }
    if ((kind === 'vote-request' || kind === 'pre-vote-request') && isRecovering)
      return { claim: 'a recovering node does not campaign', detail: `${from} asks ${to}` }
    if ((kind === 'vote-response' || kind === 'pre-vote-response') && isRecovering && message.granted)
      return { claim: 'a recovering node gives no vote', detail: `${from} gives ${to} a ${kind} in ${term}` }
    if (kind === 'append-accepted' || kind === 'snapshot-installed') {
      const trust = this.#trustOf({ leader: to, member: from, term })
      const broken = isRecovering ? this.#mayTakePart(message, trust) : null
      if (broken !== null) return broken
      trust.match = Math.max(trust.match, kind === 'append-accepted' ? message.match : message.index)
      trust.matchEver = Math.max(trust.matchEver, trust.match)
    }
    // Without a read it only tells a leader of the past which term it is.
    if (kind === 'heartbeat-response' && isRecovering && message.read > 0)
      return this.#mayTakePart(message, this.#trustOf({ leader: to, member: from, term }))
    return null
  }

  /** From where on this leader may count the member; 0: from the beginning. */
  countsBehind(member: NodeId, leader: NodeId, term: Term): Index {
    const trust = this.#known(member, leader, term)
    return trust?.told === undefined || trust.isWell ? 0 : (trust.told?.index ?? 0)
  }

  /** Whether this leader may take the member for one that has the entry, though it has lost it since. */
  hasAcknowledged(member: NodeId, leader: NodeId, at: { term: Term; index: Index }): boolean {
    const trust = this.#known(member, leader, at.term)
    return trust !== undefined && trust.match >= at.index && at.index > this.countsBehind(member, leader, at.term)
  }

  /** The entries that members wait for. */
  awaited(leader: NodeId, term: Term): readonly Index[] {
    return [...(this.#trust.get(`${leader}/${term}`)?.values() ?? [])].flatMap(({ told, isWell }) =>
      told === null || isWell ? [] : told.index,
    )
  }

  #answered(
    who: { leader: NodeId; member: NodeId; term: Term },
    { nonce, index }: { readonly nonce: number; readonly index: Index },
  ): { claim: string; detail: string } | null {
    const trust = this.#trustOf(who)
    if (trust.told?.nonce === nonce) return null
    const before = Math.max(trust.matchEver, trust.told?.index ?? 0)
    trust.told = { nonce, index }
    trust.isWell = false
    trust.match = 0
    if (index > before) return null
    return {
      claim: 'a member that lost something waits for an entry behind all that it acknowledged',
      detail: `${who.leader} tells ${who.member} to wait for ${index}, it acknowledged ${before}`,
    }
  }

  #mayTakePart({ from, to, term }: Message, { told }: Trust): { claim: string; detail: string } | null {
    const nonce = this.#nonces.get(from)?.get(term)
    if (told !== null && told.nonce === nonce) return null
    return {
      claim: 'a recovering node acknowledges nothing before its leader knows',
      detail: `${from} takes part in term ${term} of ${to}, asked ${nonce}, answered ${told?.nonce}`,
    }
  }

  #known(member: NodeId, leader: NodeId, term: Term): Trust | undefined {
    return this.#trust.get(`${leader}/${term}`)?.get(member)
  }

  #trustOf({ leader, member, term }: { leader: NodeId; member: NodeId; term: Term }): Trust {
    const key = `${leader}/${term}`
    const members = this.#trust.get(key) ?? new Map<NodeId, Trust>()
    this.#trust.set(key, members)
    const trust = members.get(member) ?? { matchEver: 0, match: 0, told: null, isWell: false }
    members.set(member, trust)
    return trust
  }
}
