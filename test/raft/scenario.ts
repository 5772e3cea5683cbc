/**
 * Text scenarios: lines that begin with `>` are commands, what follows is what the cluster did, up to a blank line, a
 * comment (`#`) or the next command. `render` runs the commands and returns the text with fresh output.
 *
 *   cluster SIZE [election=10] [heartbeat=3] [append=1000] ...   log NODE TERMS [term=T] [vote=N] [commit=I]   start
 *   tick NODE [COUNT]   campaign NODE   propose NODE TEXT   persist NODE   crash NODE   restart NODE   state [NODE]
 *   deliver FROM->TO [COUNT]   deliver all   drop FROM->TO [COUNT]   unsent FROM->TO   copy FROM->TO   isolate NODE
 *   heal   settle   inject FROM->TO KIND key=value..   unreachable NODE PEER      `quiet` before a command: no output.
 * Disk and network move only by `persist`, `deliver` and `settle`; `*` stands for any node in FROM->TO.
 */
import type { RaftEffects } from '../../src/raft/effects.ts'
import { entryBytes } from '../../src/raft/entry.ts'
import type { Entry } from '../../src/raft/entry.ts'
import type { Message } from '../../src/raft/messages.ts'
import { unreachable } from '../../src/std/assert.ts'
import type { NodeId, ProposalId } from '../../src/vocabulary/ids.ts'
import { command as commandEntry, Lab, logOfTerms, nodeIds } from './lab.ts'
import type { LabLimits, LabNode } from './lab.ts'

export function render(text: string): string {
  const scenario = new Scenario()
  const lines: string[] = []
  let inOutput = false
  for (const line of text.trimEnd().split('\n')) {
    if (line.startsWith('> ')) {
      inOutput = true
      lines.push(line, ...scenario.run(line.slice(2)))
      continue
    }
    if (line === '' || line.startsWith('#')) inOutput = false
    if (!inOutput) lines.push(line)
  }
  return lines.join('\n') + '\n'
}

const limitNames: Record<string, keyof LabLimits> = {
  election: 'electionTicks',
  heartbeat: 'heartbeatTicks',
  append: 'appendBytesMax',
  proposal: 'proposalBytesMax',
  uncommitted: 'uncommittedBytesMax',
  pending: 'pendingProposalsMax',
}

class Scenario {
  #lab: Lab | undefined
  #output: string[] = []
  #proposals = 0
  readonly #isolated = new Set<string>()

  run(line: string): string[] {
    this.#output = []
    const words = line.trim().split(/\s+/)
    const isQuiet = words[0] === 'quiet'
    this.#perform(isQuiet ? words.slice(1) : words)
    return isQuiet ? [] : this.#output
  }

  get #cluster(): Lab {
    if (this.#lab === undefined) throw new Error('a scenario begins with a cluster')
    return this.#lab
  }

  #perform(words: string[]): void {
    const verb = words[0] ?? ''
    const plain = words.slice(1).filter((word) => !word.includes('='))
    const given = new Map(
      words.filter((word) => word.includes('=')).map((word) => word.split('=', 2) as [string, string]),
    )
    const [first = '', second = ''] = plain
    switch (verb) {
      case 'cluster':
        this.#makeCluster(Number(first), given)
        return
      case 'log':
        this.#writeLog(first, plain.slice(1).map(Number), given)
        return
      case 'start':
        this.#cluster.startAll()
        return
      case 'tick':
        this.#cluster.tick(first, Number(second || '1'))
        return
      case 'campaign':
        this.#cluster.campaign(first)
        return
      case 'propose':
        this.#proposals += 1
        this.#cluster.propose(first, { id: `p${this.#proposals}`, text: second })
        return
      case 'persist':
        this.#cluster.persist(first)
        return
      case 'crash':
        this.#cluster.crash(first)
        return
      case 'restart':
        this.#cluster.start(first)
        return
      case 'state':
        for (const id of first === '' ? this.#cluster.ids : [first]) this.#printState(id)
        return
      case 'deliver':
        for (const message of this.#take(first, second)) this.#deliver(message)
        return
      case 'drop':
        for (const message of this.#take(first, second)) this.#print(`${messageText(message)} (lost)`)
        return
      case 'unsent':
        for (const message of this.#take(first, '1')) this.#cluster.step(message.from, { kind: 'unsent', message })
        return
      case 'copy':
        this.#cluster.network.push(...this.#cluster.network.filter(linkFilter(first)))
        return
      case 'unreachable':
        this.#cluster.step(first, { kind: 'unreachable', peer: second as NodeId })
        return
      case 'isolate':
        this.#isolated.add(first)
        return
      case 'heal':
        this.#isolated.clear()
        return
      case 'settle':
        this.#cluster.settle((message) => this.#isCut(message))
        return
      case 'inject':
        this.#deliver(parseMessage({ link: first, kind: second, given }))
        return
      default:
        throw new Error(`no command ${verb}`)
    }
  }

  #makeCluster(size: number, given: ReadonlyMap<string, string>): void {
    const limits: { -readonly [K in keyof LabLimits]?: number } = {}
    for (const [name, value] of given) {
      const limit = limitNames[name]
      if (limit === undefined) throw new Error(`no limit ${name}`)
      limits[limit] = Number(value)
    }
    this.#lab = new Lab({ size, limits, observe: (node, effects) => this.#printEffects(node, effects) })
  }

  #writeLog(id: string, terms: readonly number[], given: ReadonlyMap<string, string>): void {
    const node = this.#cluster.node(id)
    node.disk.entries = logOfTerms(nodeIds(this.#cluster.ids.length), terms)
    node.disk.hardState = {
      term: Number(given.get('term') ?? terms.at(-1)),
      vote: (given.get('vote') as NodeId | undefined) ?? null,
      commit: Number(given.get('commit') ?? '1'),
    }
  }

  #take(link: string, count: string): Message[] {
    const isMeant = link === 'all' ? () => true : linkFilter(link)
    let left = count === '' ? Infinity : Number(count)
    return this.#cluster.takeMessages((message) => isMeant(message) && (left -= 1) >= 0)
  }

  #isCut(message: Message): boolean {
    return this.#isolated.has(message.from) || this.#isolated.has(message.to)
  }

  #deliver(message: Message): void {
    if (this.#isCut(message)) this.#print(`${messageText(message)} (lost)`)
    else this.#cluster.deliver(message)
  }

  #print(line: string): void {
    this.#output.push(line)
  }

  #printState(id: string): void {
    const { raft, applied, disk } = this.#cluster.node(id)
    if (raft === undefined) {
      this.#print(`${id}: down; on disk term ${disk.hardState.term} log ${disk.entries.map(placeText).join(' ')}`)
      return
    }
    const { role, term, leader, commitIndex, lastIndex } = raft.status()
    const last = applied.at(-1)
    this.#print(
      `${id}: ${role} term ${term} leader ${leader ?? '-'} commit ${commitIndex} last ${lastIndex} applied ${last === undefined ? 0 : last.index}`,
    )
    this.#print(`  on disk: term ${disk.hardState.term} log ${disk.entries.map(placeText).join(' ')}`)
  }

  #printEffects(node: LabNode, effects: RaftEffects): void {
    const { persist, send, apply, refused, status } = effects
    if (status !== null) {
      const { role, term, leader, commitIndex, lastIndex } = status
      this.#print(`${node.id}: ${role} term ${term} leader ${leader ?? '-'} commit ${commitIndex} last ${lastIndex}`)
    }
    if (persist !== null) {
      const { seq, hardState, truncateFrom, entries, mustSync } = persist
      const parts = [
        `  persist #${seq}${mustSync ? '' : ' (lazily)'}: term ${hardState.term} vote ${hardState.vote ?? '-'}`,
      ]
      parts.push(`commit ${hardState.commit}`)
      if (truncateFrom !== null) parts.push(`truncate from ${truncateFrom}`)
      if (entries.length > 0) parts.push(`append ${entries.map(entryText).join(' ')}`)
      this.#print(parts.join(', '))
      for (const message of persist.then) this.#print(`  then ${messageText(message)}`)
    }
    for (const message of send) this.#print(`  send ${messageText(message)}`)
    if (apply.length > 0) this.#print(`  apply ${node.id}: ${apply.map(entryText).join(' ')}`)
    for (const { id, why } of refused) this.#print(`  refuse ${node.id}: ${id} ${why}`)
  }
}

function linkFilter(link: string): (message: Message) => boolean {
  const [from, to] = link.split('->')
  return (message) => (from === '*' || message.from === from) && (to === '*' || message.to === to)
}

function placeText(entry: Entry): string {
  return `${entry.index}/${entry.term}`
}

function entryText(entry: Entry): string {
  if (entry.kind !== 'command') return `${placeText(entry)}:${entry.kind}`
  return `${placeText(entry)}:"${new TextDecoder().decode(entry.data)}"`
}

function messageText(message: Message): string {
  return `${message.from}->${message.to} ${message.kind} term ${message.term}${bodyText(message)}`
}

function bodyText(message: Message): string {
  switch (message.kind) {
    case 'pre-vote-request':
    case 'vote-request':
      return ` last ${message.lastIndex}/${message.lastTerm}`
    case 'pre-vote-response':
    case 'vote-response':
      return message.granted ? ' granted' : ' rejected'
    case 'append-request': {
      const { prevIndex, prevTerm, commit, entries } = message
      const bytes = entries.length > 2 ? ` (${entries.reduce((sum, entry) => sum + entryBytes(entry), 0)} bytes)` : ''
      const list = entries.length === 0 ? '' : ` entries ${entries.map(entryText).join(' ')}`
      return ` after ${prevIndex}/${prevTerm}${list}${bytes} commit ${commit}`
    }
    case 'append-accepted':
      return ` match ${message.match}`
    case 'append-rejected':
      return ` after ${message.prevIndex} hint ${message.hintIndex}/${message.hintTerm}`
    case 'heartbeat-request':
      return ` commit ${message.commit}`
    case 'heartbeat-response':
      return ''
    case 'propose':
      return ` ${message.id} "${new TextDecoder().decode(message.data)}"`
    case 'propose-accepted':
      return ` ${message.id} at ${message.index}`
    case 'propose-refused':
      return ` ${message.id} ${message.why}`
    default:
      return unreachable(message)
  }
}

/** `inject n2->n1 append-request term=3 after=2/1 entries=3/3,4/3 commit=2`, and so on for each kind that is used. */
function parseMessage(options: { link: string; kind: string; given: ReadonlyMap<string, string> }): Message {
  const { link, kind, given } = options
  const [from, to] = link.split('->') as [NodeId, NodeId]
  const number = (name: string): number => Number(given.get(name) ?? '0')
  const place = (name: string): [number, number] => {
    const [index = 0, term = 0] = (given.get(name) ?? '0/0').split('/').map(Number)
    return [index, term]
  }
  const head = { from, to, term: number('term') }
  switch (kind) {
    case 'append-request': {
      const [prevIndex, prevTerm] = place('after')
      const places = (given.get('entries') ?? '').split(',').filter((text) => text !== '')
      const entries = places.map((text) => {
        const [index = 0, term = 0] = text.split('/').map(Number)
        return commandEntry(index, term)
      })
      return { ...head, kind, prevIndex, prevTerm, entries, commit: number('commit') }
    }
    case 'append-accepted':
      return { ...head, kind, match: number('match') }
    case 'heartbeat-request':
      return { ...head, kind, commit: number('commit') }
    case 'vote-request':
    case 'pre-vote-request': {
      const [lastIndex, lastTerm] = place('last')
      return { ...head, kind, lastIndex, lastTerm }
    }
    case 'vote-response':
    case 'pre-vote-response':
      return { ...head, kind, granted: given.get('granted') === 'yes' }
    case 'propose-refused':
      return { ...head, kind, id: (given.get('id') ?? '') as ProposalId, why: 'not-leader' }
    default:
      throw new Error(`no message ${kind}`)
  }
}
