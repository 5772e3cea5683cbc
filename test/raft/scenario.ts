/**
 * Text scenarios (test/story.ts): commands, and what the cluster did.
 *
 *   cluster SIZE [election=10] [heartbeat=3] [append=1000] ...   log NODE TERMS [term=T] [vote=N] [commit=I] [recovering=yes]   start
 *   join NODE (with an empty disk)   tick NODE [COUNT]   beat NODE (heartbeats, then settle)   clock MS   campaign NODE
 *   lead NODE (campaign, then settle)   propose NODE TEXT   read NODE   transfer NODE [TO]
 *   change NODE add-learner|promote|remove WHO [promote=yes]   snapshot NODE [INDEX]   persist NODE   crash NODE
 *   restart NODE   state [NODE]   members NODE   status NODE   times NODE (of its log)
 *   silent NODE (its state machine no longer says what it applied)   applies NODE (it does again)
 *   deliver FROM->TO [COUNT]   deliver all   drop FROM->TO [COUNT]   unsent FROM->TO   copy FROM->TO
 *   install FROM->TO (a snapshot that is on its way)   bring FROM->TO INDEX [term=T] (one that FROM has)   fail FROM->TO
 *   isolate NODE   heal   settle   miss NODE (ticks)
 *   lose NODE INDEX [term=T] (a crashed node's disk: all behind INDEX, and the vote; found out at the start, so it is
 *   recovering; or, with told=no, not found out)   full NODE [SPARE] (its disk; so many bytes it still takes: 0)
 *   room NODE
 *   inject FROM->TO KIND key=value..   unreachable NODE PEER   gone NODE PEER   `quiet` before a command: no output.
 * Disk and network move only by `persist`, `deliver`, `install` and `settle`; `*` stands for any node in FROM->TO.
 */
import type { ConfigurationChange } from '../../src/raft/configuration.ts'
import type { Persist, RaftEffects } from '../../src/raft/effects.ts'
import type { Message } from '../../src/raft/messages.ts'
import type { NodeId, ProposalId } from '../../src/vocabulary/ids.ts'
import { renderStory } from '../story.ts'
import { command as commandEntry, Lab, logOfTerms, nodeIds } from './lab.ts'
import type { LabLimits, LabNode, SnapshotOnItsWay } from './lab.ts'
import { entryText, logText, membersText, messageText, placeText, recoveringText, statusText } from './scenario-text.ts'

export function render(text: string): string {
  const scenario = new Scenario()
  return renderStory(text, (words) => scenario.run(words))
}

type NumberLimit = Exclude<keyof LabLimits, 'leaseReads'>

const limitNames: Record<string, NumberLimit> = {
  election: 'electionTicks',
  heartbeat: 'heartbeatTicks',
  append: 'appendBytesMax',
  proposal: 'proposalBytesMax',
  uncommitted: 'uncommittedBytesMax',
  pending: 'pendingProposalsMax',
  reads: 'pendingReadsMax',
  window: 'inflightMax',
  windowbytes: 'inflightBytesMax',
  unapplied: 'unappliedEntriesMax',
  trailing: 'trailingEntries',
  logbytes: 'logBytesMax',
  voters: 'votersMax',
}

class Scenario {
  #lab: Lab | undefined
  #output: string[] = []
  #proposals = 0
  /** The line of each node's status that was shown last. */
  readonly #shown = new Map<string, string>()
  readonly #isolated = new Set<string>()

  run(words: readonly string[]): string[] {
    this.#output = []
    this.#perform(words)
    return this.#output
  }

  get #cluster(): Lab {
    if (this.#lab === undefined) throw new Error('a scenario begins with a cluster')
    return this.#lab
  }

  #perform(words: readonly string[]): void {
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
      case 'miss':
        this.#cluster.step(first, { kind: 'ticks-missed' })
        return
      case 'beat':
        this.#cluster.beat(first, (message) => this.#isCut(message))
        return
      case 'clock':
        this.#cluster.now = Number(first)
        return
      case 'join':
        this.#cluster.join(first)
        return
      case 'campaign':
        this.#cluster.campaign(first)
        return
      case 'lead':
        this.#cluster.campaign(first)
        this.#cluster.settle((message) => this.#isCut(message))
        return
      case 'read':
        this.#cluster.read(first)
        return
      case 'transfer':
        this.#cluster.step(first, { kind: 'transfer', to: second === '' ? null : (second as NodeId) })
        return
      case 'change':
        this.#proposals += 1
        this.#cluster.change(first, { id: `p${this.#proposals}`, change: parseChange(plain.slice(1), given) })
        return
      case 'snapshot':
        if (this.#cluster.snapshot(first, second === '' ? undefined : Number(second)) === null)
          this.#print('not needed')
        return
      case 'status': {
        const { firstIndex, snapshotIndex, progress } = this.#cluster.raft(first).status()
        this.#print(`${first}: log from ${firstIndex}, snapshot at ${snapshotIndex}`)
        for (const { node, match, state, isRecovering, isDiskFull } of progress) {
          this.#print(`  ${node}: ${state} match ${match}${recoveringText(isRecovering)}${isDiskFull ? ' full' : ''}`)
        }
        return
      }
      case 'times': {
        const entries = this.#cluster.node(first).log
        this.#print(`${first}: ${entries.map((entry) => `${placeText(entry)} at ${entry.time}`).join(', ')}`)
        return
      }
      case 'applies':
        this.#cluster.node(first).isSilent = false
        this.#cluster.take(first)
        return
      case 'silent':
        this.#cluster.node(first).isSilent = true
        return
      case 'members':
        this.#print(`${first}: ${membersText(this.#cluster.raft(first).status().configuration)}`)
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
      case 'lose':
        this.#cluster.lose(first, Number(second), { term: given.get('term'), isTold: given.get('told') !== 'no' })
        return
      case 'full':
      case 'room':
        this.#cluster.step(first, { kind: 'disk-full', isFull: verb === 'full', spareBytes: Number(second) })
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
      case 'install':
        for (const snapshot of this.#takeSnapshots(first)) this.#deliverSnapshot(snapshot)
        return
      case 'bring':
        this.#deliverSnapshot(this.#snapshotOf(first, { index: Number(second), term: given.get('term') }))
        return
      case 'fail':
        for (const snapshot of this.#takeSnapshots(first)) this.#cluster.failSnapshot(snapshot)
        return
      case 'copy':
        this.#cluster.network.push(...this.#cluster.network.filter(linkFilter(first)))
        return
      case 'unreachable':
        this.#cluster.step(first, { kind: 'unreachable', peer: second as NodeId })
        return
      case 'gone':
        this.#cluster.step(first, { kind: 'peer-gone', peer: second as NodeId })
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
    const limits: { -readonly [K in keyof LabLimits]?: LabLimits[K] } = {}
    for (const [name, value] of given) {
      if (name === 'lease') {
        limits.leaseReads = value === 'yes'
        continue
      }
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
      isRecovering: given.get('recovering') === 'yes',
    }
  }

  #take(link: string, count: string): Message[] {
    const isMeant = link === 'all' ? () => true : linkFilter(link)
    let left = count === '' ? Infinity : Number(count)
    return this.#cluster.takeMessages((message) => isMeant(message) && (left -= 1) >= 0)
  }

  #takeSnapshots(link: string): SnapshotOnItsWay[] {
    const [from, to] = link.split('->')
    const isMeant = (one: SnapshotOnItsWay): boolean => one.from === from && one.to === to
    const taken = this.#cluster.snapshotsOnTheirWay.filter(isMeant)
    this.#cluster.snapshotsOnTheirWay = this.#cluster.snapshotsOnTheirWay.filter((one) => !isMeant(one))
    return taken
  }

  #snapshotOf(link: string, { index, term }: { index: number; term: string | undefined }): SnapshotOnItsWay {
    const [from, to] = link.split('->') as [NodeId, NodeId]
    const snapshot = this.#cluster.node(from).snapshots.get(index)?.meta
    if (snapshot === undefined) throw new Error(`${from} has no snapshot at ${index}`)
    return { from, to, term: Number(term ?? this.#cluster.raft(from).status().term), snapshot }
  }

  #deliverSnapshot(snapshot: SnapshotOnItsWay): void {
    const { from, to } = snapshot
    if (this.#isCut(snapshot)) this.#print(`${from}->${to} snapshot (lost)`)
    else this.#cluster.deliverSnapshot(snapshot)
  }

  #isCut(message: { from: NodeId; to: NodeId }): boolean {
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
      this.#print(`${id}: down; on disk term ${disk.hardState.term} log ${logText(disk)}`)
      return
    }
    const last = applied.at(-1)
    this.#print(`${statusText(raft.status())} applied ${last === undefined ? 0 : last.index}`)
    this.#print(`  on disk: term ${disk.hardState.term} log ${logText(disk)}`)
  }

  #printEffects(node: LabNode, effects: RaftEffects): void {
    const { persist, send, sendSnapshot, restore, apply, reads, readsRefused, refused, status } = effects
    const { id } = node
    const text = node.raft === undefined ? '' : statusText(node.raft.status())
    if (status !== null || text !== this.#shown.get(id)) this.#print(text)
    this.#shown.set(id, text)
    if (persist !== null) this.#printPersist(persist)
    for (const message of send) this.#print(`  send ${messageText(message)}`)
    for (const { peer, term, snapshot } of sendSnapshot) {
      this.#print(`  send ${id}->${peer} snapshot term ${term} at ${placeText(snapshot)}`)
    }
    if (restore !== null) this.#print(`  restore ${id}: snapshot at ${placeText(restore)}`)
    if (apply.length > 0) this.#print(`  apply ${id}: ${apply.map(entryText).join(' ')}`)
    for (const { id: read, index } of reads) this.#print(`  read ${id}: r${read} at ${index}`)
    for (const read of readsRefused) this.#print(`  refuse ${id}: r${read}`)
    for (const { id: proposal, why } of refused) this.#print(`  refuse ${id}: ${proposal} ${why}`)
  }

  #printPersist({ seq, hardState, install, compact, truncateFrom, entries, mustSync, then }: Persist): void {
    const parts = [
      `  persist #${seq}${mustSync ? '' : ' (lazily)'}: term ${hardState.term} vote ${hardState.vote ?? '-'}`,
    ]
    parts.push(`commit ${hardState.commit}${recoveringText(hardState.isRecovering)}`)
    if (install !== null) parts.push(`install snapshot at ${placeText(install)}`)
    if (compact !== null) parts.push(`snapshot at ${placeText(compact.snapshot)}, log from ${compact.firstIndex}`)
    if (truncateFrom !== null) parts.push(`truncate from ${truncateFrom}`)
    if (entries.length > 0) parts.push(`append ${entries.map(entryText).join(' ')}`)
    this.#print(parts.join(', '))
    for (const message of then) this.#print(`  then ${messageText(message)}`)
  }
}

function linkFilter(link: string): (message: Message) => boolean {
  const [from, to] = link.split('->')
  return (message) => (from === '*' || message.from === from) && (to === '*' || message.to === to)
}

function parseChange([kind, node]: readonly string[], given: ReadonlyMap<string, string>): ConfigurationChange {
  if (kind === 'promote' || kind === 'remove') return { kind, node: node as NodeId }
  if (kind !== 'add-learner') throw new Error(`no change ${kind}`)
  return { kind, node: node as NodeId, promote: given.get('promote') === 'yes' }
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
      return { ...head, kind, commit: number('commit'), read: number('read'), match: number('match') }
    case 'heartbeat-response':
      return { ...head, kind, read: number('read'), isDiskFull: given.get('full') === 'yes' }
    case 'vote-request': {
      const [lastIndex, lastTerm] = place('last')
      return { ...head, kind, lastIndex, lastTerm, transfer: given.get('transfer') === 'yes' }
    }
    case 'pre-vote-request': {
      const [lastIndex, lastTerm] = place('last')
      return { ...head, kind, lastIndex, lastTerm }
    }
    case 'timeout-now':
      return { ...head, kind }
    case 'recovery-request':
      return { ...head, kind, nonce: number('nonce') }
    case 'recovery-response':
      return { ...head, kind, nonce: number('nonce'), index: number('at') }
    case 'snapshot-installed':
      return { ...head, kind, index: number('at') }
    case 'append-rejected': {
      const [hintIndex, hintTerm] = place('hint')
      return { ...head, kind, prevIndex: number('after'), hintIndex, hintTerm }
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
