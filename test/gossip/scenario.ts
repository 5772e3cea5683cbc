/**
 * Text scenarios (test/story.ts): gossip cores in one time, of which a tick is 100 ms; a message arrives within the tick in
 * which it was sent. What is printed is what each node comes to believe, as `TICK NODE: EVENT NODE GENERATION/INCARNATION`.
 *
 *   cluster SIZE [probe=10] [timeout=5] [reap=T] [tombstone=T] [exchange=T] [reconnect=T] ...   start NODE   tick COUNT
 *   members [NODE]   state OWNER (on every node)   health NODE   trace KIND.. | claims | none (which messages are printed)
 *   crash NODE   restart NODE (a later process)   twin NODE (which starts beside the earlier process, that is cut off)
 *   leave NODE   remove NODE WHO (an operator, at NODE)   pause NODE   resume NODE   broken NODE PEER (the link, as NODE sees it)
 *   cut FROM->TO [KIND..]   isolate NODE   heal   hold FROM->TO (messages wait)   pass FROM->TO (new ones do not)
 *   release FROM->TO (what waits arrives now, late)
 *   set NODE KEY VALUE   delete NODE KEY   gauge NODE KEY NUMBER
 *   tell FROM->TO WHO STATUS GENERATION/INCARNATION [by=NODE] [age=T]   a claim, as FROM might pass it on
 * In FROM->TO `*` stands for any node.
 */
import { gossipTiming } from '../../src/gossip/effects.ts'
import type { GossipEvent, GossipTiming, MemberView } from '../../src/gossip/effects.ts'
import { Gossip } from '../../src/gossip/gossip.ts'
import type { Claim, GossipMessage, MemberStatus } from '../../src/gossip/messages.ts'
import { compareIds } from '../../src/vocabulary/ids.ts'
import type { NodeId } from '../../src/vocabulary/ids.ts'
import { renderStory } from '../story.ts'

export function render(text: string): string {
  const scenario = new Scenario()
  return renderStory(text, (words) => scenario.run(words))
}

const timings: Readonly<Record<string, keyof GossipTiming>> = {
  probe: 'probeTicks',
  timeout: 'probeTimeoutTicks',
  reap: 'reapTicks',
  tombstone: 'tombstoneTicks',
  exchange: 'exchangeTicks',
  reconnect: 'reconnectTicks',
  dead: 'newsToDeadTicks',
}

class Scenario {
  #output: string[] = []
  #tick = 0
  #timing: GossipTiming | undefined
  readonly #processes: Process[] = []
  readonly #cuts: { readonly way: Way; readonly kinds: readonly string[] }[] = []
  #holds: { readonly way: Way; isOpen: boolean; readonly held: GossipMessage[] }[] = []
  #traced: ReadonlySet<string> = new Set()
  #underWay: GossipMessage[] = []

  run(words: readonly string[]): readonly string[] {
    this.#output = []
    const plain = words.slice(1).filter((word) => !word.includes('='))
    const given = new Map(words.filter((word) => word.includes('=')).map((word) => pair(word, '=')))
    this.#perform(words[0] ?? '', plain, given)
    return this.#output
  }

  #perform(verb: string, plain: readonly string[], given: ReadonlyMap<string, string>): void {
    const [first = '', second = '', third = ''] = plain
    switch (verb) {
      case 'cluster':
        return this.#make(Number(first), given)
      case 'tick':
        for (let count = Number(first); count > 0; count -= 1) this.#beat()
        return
      case 'members':
        for (const process of this.#shown(first)) this.#say(membersText(process))
        return
      case 'state':
        for (const process of this.#shown('')) this.#say(stateText(process, nodeId(first)))
        return
      case 'health': {
        const { health, phase, incarnation } = this.#live(first).gossip.status()
        return this.#say(`${first}: ${phase}, incarnation ${incarnation}, health ${health}`)
      }
      case 'trace':
        this.#traced = new Set(plain)
        return
      case 'start':
        return this.#start(nodeId(first))
      case 'crash':
        this.#live(first).isUp = false
        return
      case 'restart':
        this.#live(first).isUp = false
        return this.#start(nodeId(first))
      case 'twin':
        this.#live(first).name += "'"
        return this.#start(nodeId(first))
      case 'leave':
        return this.#step(this.#live(first), { kind: 'leave' })
      case 'remove':
        return this.#step(this.#live(first), { kind: 'remove', node: nodeId(second) })
      case 'pause':
        this.#live(first).pausedAt = this.#tick
        return
      case 'resume':
        return this.#resume(this.#live(first))
      case 'broken':
        return this.#step(this.#live(first), { kind: 'link-down', peer: nodeId(second) })
      case 'set':
        return this.#step(this.#live(first), { kind: 'set-state', key: second, value: third })
      case 'delete':
        return this.#step(this.#live(first), { kind: 'delete-state', key: second })
      case 'gauge':
        return this.#step(this.#live(first), { kind: 'set-gauges', gauges: new Map([[second, Number(third)]]) })
      case 'tell':
        return this.#tell(wayOf(first), claimOf(plain.slice(1), given))
      default:
        return this.#network(verb, plain)
    }
  }

  #network(verb: string, [first = '', ...kinds]: readonly string[]): void {
    switch (verb) {
      case 'cut':
        this.#cuts.push({ way: wayOf(first), kinds })
        return
      case 'isolate':
        this.#cuts.push({ way: { from: first, to: '*' }, kinds: [] }, { way: { from: '*', to: first }, kinds: [] })
        return
      case 'heal':
        this.#cuts.length = 0
        return
      case 'hold':
        this.#holds.push({ way: wayOf(first), isOpen: false, held: [] })
        return
      case 'pass':
        for (const hold of this.#holds) if (wayText(hold.way) === first) hold.isOpen = true
        return
      case 'release':
        this.#underWay.push(...this.#holds.flatMap(({ way, held }) => (wayText(way) === first ? held : [])))
        this.#holds = this.#holds.filter(({ way }) => wayText(way) !== first)
        return this.#deliver()
      default:
        throw new Error(`no command ${verb}`)
    }
  }

  #make(size: number, given: ReadonlyMap<string, string>): void {
    const base = gossipTiming({ tickMs: 100, probeIntervalMs: 1000, probeTimeoutMs: 500 })
    const changed = [...given].map(([name, value]) => {
      const field = timings[name]
      if (field === undefined) throw new Error(`no time ${name}`)
      return [field, Number(value)] as const
    })
    this.#timing = { ...base, ...Object.fromEntries(changed) }
    for (let number = 1; number <= size; number += 1) this.#start(nodeId(`n${number}`))
  }

  /** Everyone who ever was is a contact of everyone. */
  #start(id: NodeId): void {
    if (this.#timing === undefined) throw new Error('a scenario begins with a cluster')
    const generation = this.#processes.filter((process) => process.id === id).length + 1
    const seed = Number(id.slice(1)) * 100 + generation
    const gossip = new Gossip({ ...this.#timing, id, generation, address: addressOf(id), seed })
    this.#processes.push({ id, name: id, generation, gossip, isUp: true, pausedAt: null, inbox: [] })
    this.#processes.sort((a, b) => compareIds(a.id, b.id) || a.generation - b.generation)
    const contacts = [...new Set(this.#processes.map((each) => each.id))].map((node) => ({
      node,
      address: addressOf(node),
    }))
    for (const process of this.#shown('')) this.#step(process, { kind: 'contacts', contacts })
  }

  #beat(): void {
    this.#tick += 1
    for (const process of this.#shown('')) if (process.pausedAt === null) this.#step(process, { kind: 'tick' })
    this.#deliver()
  }

  #resume(process: Process): void {
    const ticks = this.#tick - (process.pausedAt ?? this.#tick)
    process.pausedAt = null
    if (ticks > 0) this.#step(process, { kind: 'ticks-missed', ticks })
    for (const message of process.inbox.splice(0)) this.#step(process, { kind: 'message', message })
    this.#deliver()
  }

  #tell({ from, to }: Way, claim: Claim): void {
    const process = this.#processes.findLast(({ id }) => id === from)
    const incarnation = process?.gossip.status().incarnation ?? 0
    const node = nodeId(from)
    const sender = { node, generation: process?.generation ?? 1, incarnation, address: addressOf(node) }
    const claims = [{ ...claim, by: claim.by === claim.node ? node : claim.by }]
    const told = this.#live(to)
    this.#step(told, { kind: 'message', message: { from: sender, to: told.id, claims, kind: 'news' } })
    this.#deliver()
  }

  #step(process: Process, event: GossipEvent): void {
    const before = process.gossip.status().phase
    process.gossip.step(event)
    const { send, members, changed, refused } = process.gossip.take()
    for (const { kind, node, generation, incarnation, by } of members) {
      const accuser = kind === 'suspect' || kind === 'dead' || kind === 'left' ? `, says ${by}` : ''
      this.#say(`${this.#tick} ${process.name}: ${kind} ${node} ${generation}/${incarnation}${accuser}`)
    }
    for (const { owner, key, value } of changed)
      this.#say(`${this.#tick} ${process.name}: of ${owner} ${key} ${value === null ? 'is gone' : `= ${value}`}`)
    for (const { key, why } of refused) this.#say(`${this.#tick} ${process.name}: refuses ${key}: ${why}`)
    const { phase } = process.gossip.status()
    if (phase !== before) this.#say(`${this.#tick} ${process.name}: is ${phase}`)
    for (const message of send) this.#send(process, message)
  }

  #send({ name, id }: Process, message: GossipMessage): void {
    const isLost = name !== id || this.#cuts.some((cut) => isOn(cut.way, message) && isKind(cut.kinds, message.kind))
    const hold = this.#holds.find(({ way, isOpen }) => !isOpen && isOn(way, message))
    if (this.#traced.has(message.kind) || (this.#traced.has('claims') && message.claims.length > 0)) {
      const end = isLost ? ' (lost)' : hold === undefined ? '' : ' (held)'
      this.#say(`${this.#tick} ${name}->${message.to} ${messageText(message)}${end}`)
    }
    if (isLost) return
    if (hold === undefined) this.#underWay.push(message)
    else hold.held.push(message)
  }

  #deliver(): void {
    for (let message = this.#underWay.shift(); message !== undefined; message = this.#underWay.shift()) {
      const { to } = message
      const process = this.#shown('').find(({ id, name }) => id === to && name === id)
      if (process === undefined) continue
      if (process.pausedAt === null) this.#step(process, { kind: 'message', message })
      else process.inbox.push(message)
    }
  }

  #shown(name: string): readonly Process[] {
    return this.#processes.filter((process) => process.isUp && (name === '' || process.name === name))
  }

  #live(name: string): Process {
    const [process] = this.#shown(name)
    if (process === undefined) throw new Error(`${name} does not run`)
    return process
  }

  #say(line: string): void {
    this.#output.push(line)
  }
}

type Process = {
  readonly id: NodeId
  /** With a stroke: an earlier process of the node that nobody can hear, nor it them. */
  name: string
  readonly generation: number
  readonly gossip: Gossip
  isUp: boolean
  pausedAt: number | null
  readonly inbox: GossipMessage[]
}

type Way = { readonly from: string; readonly to: string }

function isOn({ from, to }: Way, message: GossipMessage): boolean {
  return (from === '*' || from === message.from.node) && (to === '*' || to === message.to)
}

function isKind(kinds: readonly string[], kind: string): boolean {
  return kinds.length === 0 || kinds.includes(kind)
}

function wayText({ from, to }: Way): string {
  return `${from}->${to}`
}

function wayOf(text: string): Way {
  const [from, to] = pair(text, '->')
  return { from, to }
}

function claimOf([who = '', status = '', place = '']: readonly string[], given: ReadonlyMap<string, string>): Claim {
  const [generation, incarnation] = pair(place, '/').map(Number) as [number, number]
  const node = nodeId(who)
  const by = nodeId(given.get('by') ?? who)
  const age = Number(given.get('age') ?? 0)
  return { node, generation, incarnation, status: status as MemberStatus, address: addressOf(node), by, age }
}

function membersText({ name, gossip }: Process): string {
  const text = ({ node, status, generation, incarnation }: MemberView): string =>
    `${node} ${status} ${generation}/${incarnation}`
  return `${name}: ${gossip.members().map(text).join(', ') || 'nobody'}`
}

function stateText({ name, gossip }: Process, owner: NodeId): string {
  const values = [...gossip.state(owner), ...gossip.gauges(owner)].map(([key, value]) => `${key}=${value}`).sort()
  const { generation, state, gauges } = gossip.versions(owner)
  return `${name}: ${values.join(' ') || '-'} (generation ${generation}, state ${state}, gauges ${gauges})`
}

function messageText({ kind, claims, ...rest }: GossipMessage): string {
  const target = 'target' in rest ? ` ${rest.target}` : ''
  const said = claims.map(
    ({ node, status, generation, incarnation }) => ` [${node} ${status} ${generation}/${incarnation}]`,
  )
  return `${kind}${target}${said.join('')}`
}

function pair(text: string, by: string): [string, string] {
  const at = text.indexOf(by)
  if (at < 0) throw new Error(`${text} has no ${by}`)
  return [text.slice(0, at), text.slice(at + by.length)]
}

function nodeId(text: string): NodeId {
  return text as NodeId
}

function addressOf(node: NodeId): string {
  return `${node}:1`
}
