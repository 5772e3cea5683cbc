import { gossipTiming } from '../../src/gossip/effects.ts'
import type { GossipEffects, GossipEvent, GossipOptions } from '../../src/gossip/effects.ts'
import { Gossip } from '../../src/gossip/gossip.ts'
import type { Claim, GossipBody, GossipMessage, MemberStatus } from '../../src/gossip/messages.ts'
import type { NodeId } from '../../src/vocabulary/ids.ts'

/** One core, n1, that a test speaks to as its peers do. A tick is 100 ms; a probe interval ten, a probe time-out five of them. */
export class Lab {
  readonly gossip: Gossip
  effects: GossipEffects = { send: [], members: [], changed: [], refused: [], status: null }

  constructor(options: Partial<GossipOptions> = {}) {
    const timing = gossipTiming({ tickMs: 100, probeIntervalMs: 1000, probeTimeoutMs: 500 })
    this.gossip = new Gossip({ ...timing, id: n(1), generation: 1, address: 'n1:1', seed: 1, ...options })
  }

  step(event: GossipEvent): GossipEffects {
    this.gossip.step(event)
    this.effects = this.gossip.take()
    return this.effects
  }

  /** All effects of so many ticks. */
  tick(times = 1): GossipEffects {
    const all = Array.from({ length: times }, () => this.step({ kind: 'tick' }))
    this.effects = {
      send: all.flatMap(({ send }) => send),
      members: all.flatMap(({ members }) => members),
      changed: all.flatMap(({ changed }) => changed),
      refused: [],
      status: all.findLast(({ status }) => status !== null)?.status ?? null,
    }
    return this.effects
  }

  /** Ticks until a message of the kind goes out. */
  until<Kind extends GossipBody['kind']>(kind: Kind, to?: NodeId): GossipMessage & { kind: Kind } {
    for (let tick = 0; tick < 500; tick += 1) {
      const found = this.tick().send.find((message) => message.kind === kind && (to === undefined || message.to === to))
      if (found !== undefined) return found as GossipMessage & { kind: Kind }
    }
    throw new Error(`no ${kind} in 500 ticks`)
  }

  receive(
    from: number,
    body: GossipBody,
    more: { incarnation?: number; generation?: number; claims?: readonly Claim[] } = {},
  ): GossipEffects {
    const { incarnation = 0, generation = 1, claims = [] } = more
    const sender = { node: n(from), generation, incarnation, address: `n${from}:1` }
    return this.step({ kind: 'message', message: { from: sender, to: n(1), claims, ...body } })
  }

  hear(...claims: readonly Claim[]): GossipEffects {
    return this.receive(2, { kind: 'news' }, { claims })
  }

  /** The others, up to this number, are alive. */
  know(upTo: number): void {
    for (let other = 2; other <= upTo; other += 1) this.receive(other, { kind: 'news' })
  }

  standing(node: number): string {
    const member = this.gossip.member(n(node))
    return member === undefined ? 'unknown' : `${member.status} ${member.generation}/${member.incarnation}`
  }
}

export function n(number: number): NodeId {
  return `n${number}` as NodeId
}

/** `claim(3, 'dead', { incarnation: 10 })`: n2 says so. */
export function claim(
  node: number,
  status: MemberStatus,
  {
    generation = 1,
    incarnation = 0,
    by = 2,
    age = 0,
  }: { generation?: number; incarnation?: number; by?: number; age?: number } = {},
): Claim {
  return { node: n(node), generation, incarnation, status, address: `n${node}:1`, by: n(by), age }
}

export function kinds(effects: GossipEffects): string[] {
  return effects.members.map(({ kind, node }) => `${kind} ${node}`)
}
