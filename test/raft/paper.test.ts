import { describe, expect, it } from 'vitest'
import { encodeConfiguration, makeConfiguration } from '../../src/raft/configuration.ts'
import type { Message, MessageKind } from '../../src/raft/messages.ts'
import { Raft } from '../../src/raft/raft.ts'
import type { ClusterId, NodeId, ProposalId } from '../../src/vocabulary/ids.ts'
import { command, firstEntry, Lab, labLimits, logOfTerms, message, nodeIds } from './lab.ts'

// One test per claim. "Raft" is Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm" (extended
// version); "thesis" is Ongaro, "Consensus: Bridging Theory and Practice".

const n1 = 'n1' as NodeId
const n2 = 'n2' as NodeId
const n3 = 'n3' as NodeId

/** A cluster that runs, with logs given as terms where they differ from a new cluster's. */
function cluster(size: number, logs: Readonly<Record<string, readonly number[]>> = {}): Lab {
  const lab = new Lab({ size })
  const highest = Math.max(1, ...Object.values(logs).map((terms) => terms.at(-1) ?? 1))
  for (const id of lab.ids) {
    const node = lab.node(id)
    node.disk.entries = logOfTerms(nodeIds(size), logs[id] ?? [1])
    node.disk.hardState = { term: highest, vote: null, commit: 1, isRecovering: false }
  }
  return lab.startAll()
}

/** n1 leads term 2 and everybody has applied its noop. */
function ledCluster(size: number): Lab {
  const lab = cluster(size)
  lab.elect('n1')
  return lab
}

function sent(lab: Lab, kind: MessageKind): Message[] {
  return lab.network.filter((message) => message.kind === kind)
}

function hear(lab: Lab, heard: Message): void {
  lab.deliver(heard)
}

function terms(lab: Lab, id: string): number[] {
  return lab.node(id).log.map((entry) => entry.term)
}

/** Makes n1 a candidate of term 2, its vote on the disk, its requests in the network. */
function candidate(size: number): Lab {
  const lab = cluster(size)
  lab.campaign('n1')
  for (const id of lab.ids.slice(1)) {
    hear(lab, message('pre-vote-response', { from: id, to: 'n1', term: 2, granted: true }))
  }
  lab.network = []
  lab.persistAll('n1')
  expect(lab.raft('n1').status()).toMatchObject({ role: 'candidate', term: 2 })
  return lab
}

describe('Raft 5.1: terms', () => {
  it('a candidate or leader that sees a higher term becomes a follower of that term', () => {
    const leading = ledCluster(3)
    hear(leading, message('append-rejected', { from: n2, to: n1, term: 5, prevIndex: 1, hintIndex: 0, hintTerm: 0 }))
    expect(leading.raft('n1').status()).toMatchObject({ role: 'follower', term: 5, leader: null })
    const campaigning = candidate(3)
    hear(campaigning, message('vote-response', { from: n2, to: n1, term: 7, granted: false }))
    expect(campaigning.raft('n1').status()).toMatchObject({ role: 'follower', term: 7 })
  })

  it('a request of a lower term changes nothing, and its sender is told the present term', () => {
    const lab = ledCluster(3)
    const before = lab.raft('n1').status()
    hear(
      lab,
      message('append-request', { from: n2, to: n1, term: 1, prevIndex: 1, prevTerm: 1, entries: [], commit: 1 }),
    )
    hear(lab, message('heartbeat-request', { from: n2, to: n1, term: 1, commit: 1, read: 0, match: 0 }))
    hear(lab, message('vote-request', { from: n2, to: n1, term: 1, lastIndex: 9, lastTerm: 1, transfer: false }))
    hear(lab, message('pre-vote-request', { from: n2, to: n1, term: 2, lastIndex: 9, lastTerm: 1 }))
    expect(lab.network.map(({ kind, term }) => [kind, term])).toEqual([
      ['append-rejected', 2],
      ['heartbeat-response', 2],
      ['vote-response', 2],
      ['pre-vote-response', 2],
    ])
    expect(lab.raft('n1').status()).toEqual(before)
  })

  it('a deposed leader that does not know it steps down at the first answer', () => {
    const lab = ledCluster(3)
    for (const id of ['n2', 'n3']) lab.tick(id, 10)
    lab.campaign('n2')
    lab.settle(({ from, to }) => from === n1 || to === n1)
    expect(lab.leaders).toEqual([n1, n2])
    lab.tick('n1', 3)
    lab.settle()
    expect(lab.leaders).toEqual([n2])
  })
})

describe('Raft 5.2: election', () => {
  it('a follower campaigns after one to two election timeouts without a leader, at a time drawn anew', () => {
    const waits = new Set<number>()
    const raft = cluster(3)
    for (let round = 0; round < 60; round += 1) {
      let ticks = 0
      do {
        raft.tick('n1')
        ticks += 1
      } while (sent(raft, 'pre-vote-request').length === 0)
      raft.network = []
      waits.add(ticks)
    }
    expect([...waits].sort((a, b) => a - b)).toEqual(Array.from({ length: 10 }, (_, at) => 10 + at))
  })

  it('a node gives one vote a term, first come first served, and repeats it to the same candidate', () => {
    const lab = cluster(3)
    const ask = (from: NodeId): Message =>
      message('vote-request', { from, to: n1, term: 2, lastIndex: 1, lastTerm: 1, transfer: false })
    for (const from of [n2, n3, n2]) hear(lab, ask(from))
    lab.persistAll('n1')
    const answers = sent(lab, 'vote-response').map((answer) => [answer.to, 'granted' in answer && answer.granted])
    expect(answers).toEqual([
      [n2, true],
      [n3, false],
      [n2, true],
    ])
  })

  it('a candidate needs a majority, and a vote that arrives twice is one vote', () => {
    const lab = candidate(5)
    const vote = (from: NodeId): Message => message('vote-response', { from, to: n1, term: 2, granted: true })
    for (const from of [n2, n2, n2]) hear(lab, vote(from))
    expect(lab.raft('n1').status().role).toBe('candidate')
    hear(lab, vote(n3))
    expect(lab.raft('n1').status().role).toBe('leader')
  })

  it('votes of an older campaign do not count in a new one', () => {
    const lab = candidate(5)
    lab.campaign('n1')
    for (const from of ['n2', 'n3', 'n4']) {
      hear(lab, message('vote-response', { from, to: n1, term: 2, granted: true }))
      hear(lab, message('pre-vote-response', { from, to: n1, term: 2, granted: true }))
    }
    expect(lab.raft('n1').status()).toMatchObject({ role: 'pre-candidate', term: 2 })
  })

  it('a candidate that a majority rejects becomes a follower', () => {
    const lab = candidate(3)
    for (const from of [n2, n3]) hear(lab, message('vote-response', { from, to: n1, term: 2, granted: false }))
    expect(lab.raft('n1').status()).toMatchObject({ role: 'follower', term: 2, leader: null })
  })

  it('a candidate that hears the leader of its term follows it', () => {
    const lab = candidate(3)
    hear(lab, message('heartbeat-request', { from: n2, to: n1, term: 2, commit: 0, read: 0, match: 0 }))
    expect(lab.raft('n1').status()).toMatchObject({ role: 'follower', term: 2, leader: n2 })
  })

  it('a candidate without an answer campaigns again in a higher term', () => {
    const lab = candidate(3)
    lab.campaign('n1')
    hear(lab, message('pre-vote-response', { from: n2, to: n1, term: 3, granted: true }))
    expect(lab.raft('n1').status()).toMatchObject({ role: 'candidate', term: 3 })
  })

  it('a leader sends heartbeats to all at every interval, and its followers do not campaign', () => {
    const lab = ledCluster(5)
    lab.tick('n1', 2)
    expect(lab.network).toEqual([])
    lab.tick('n1', 1)
    expect(sent(lab, 'heartbeat-request').map(({ to }) => to)).toEqual(['n2', 'n3', 'n4', 'n5'])
    for (let round = 0; round < 100; round += 1) {
      for (const id of lab.ids) lab.tick(id)
      lab.settle()
    }
    expect(lab.raft('n1').status()).toMatchObject({ role: 'leader', term: 2 })
  })
})

describe('Raft 5.3: log replication', () => {
  it('a leader sends each new entry to all followers with the place before it', () => {
    const lab = ledCluster(3)
    lab.propose('n1', { id: 'x' })
    expect(sent(lab, 'append-request')).toMatchObject(
      [n2, n3].map((to) => ({ to, prevIndex: 2, prevTerm: 2, entries: [{ index: 3, term: 2, id: 'x' }], commit: 2 })),
    )
  })

  it('an entry is committed once a majority has it, applied in the order of the log, and followers hear of it', () => {
    const lab = ledCluster(5)
    for (const id of ['a', 'b', 'c']) lab.propose('n1', { id })
    const isCut = ({ to }: Message): boolean => to === 'n4' || to === 'n5'
    lab.settle(isCut)
    lab.beat('n1', isCut)
    for (const id of ['n1', 'n2', 'n3']) {
      expect(lab.node(id).applied.map((entry) => entry.id)).toEqual(['', '', 'a', 'b', 'c'])
    }
  })

  it('an entry on less than a majority is not committed', () => {
    const lab = ledCluster(5)
    lab.propose('n1', { id: 'x' })
    lab.settle(({ to }) => to !== n2 && to !== n1)
    expect(lab.raft('n1').status()).toMatchObject({ commitIndex: 2, lastIndex: 3 })
  })

  it('a follower rejects an append whose previous entry it lacks or has with another term', () => {
    const lab = cluster(3, { n1: [1, 1, 2] })
    const append = (prevIndex: number, prevTerm: number): Message =>
      message('append-request', { from: n2, to: n1, term: 3, prevIndex, prevTerm, entries: [], commit: 1 })
    lab.step('n1', { kind: 'message', message: append(5, 2) })
    lab.step('n1', { kind: 'message', message: append(3, 3) })
    lab.persistAll('n1')
    expect(lab.network.map(({ kind }) => kind)).toEqual(['append-rejected', 'append-rejected'])
  })

  it('a follower deletes an entry that conflicts and all that follow it', () => {
    const lab = cluster(3, { n1: [1, 1, 2, 2, 2] })
    const entries = [command(3, 3)]
    hear(lab, message('append-request', { from: n2, to: n1, term: 3, prevIndex: 2, prevTerm: 1, entries, commit: 1 }))
    lab.persistAll('n1')
    expect(lab.node('n1').disk.entries.map((entry) => entry.term)).toEqual([1, 1, 3])
  })

  it('a leader makes the logs of figure 7 equal to its own', () => {
    const leaderLog = [1, 1, 1, 4, 4, 5, 5, 6, 6, 6]
    const lab = cluster(7, {
      n1: leaderLog,
      n2: [1, 1, 1, 4, 4, 5, 5, 6, 6],
      n3: [1, 1, 1, 4],
      n4: [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
      n5: [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7],
      n6: [1, 1, 1, 4, 4, 4, 4],
      n7: [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3],
    })
    lab.elect('n1')
    for (const id of lab.ids) expect(terms(lab, id)).toEqual([...leaderLog, 8])
    expect(lab.raft('n1').status().commitIndex).toBe(11)
  })

  it('a leader needs at most one rejected probe per term, however long the terms are', () => {
    const long = (term: number): number[] => Array.from({ length: 50 }, () => term)
    const lab = cluster(3, { n1: [1, ...long(3), ...long(5)], n2: [1, ...long(2), ...long(4)], n3: [1] })
    lab.campaign('n1')
    let rejections = 0
    lab.settle((message) => {
      if (message.kind === 'append-rejected' && message.from === n2) rejections += 1
      return false
    })
    expect(terms(lab, 'n2')).toEqual(terms(lab, 'n1'))
    expect(rejections).toBeLessThanOrEqual(2)
  })

  it('a leader never changes its own log, whoever claims to lead its term', () => {
    const lab = ledCluster(3)
    const entries = [command(2, 2), command(3, 2)]
    hear(lab, message('append-request', { from: n2, to: n1, term: 2, prevIndex: 1, prevTerm: 1, entries, commit: 3 }))
    expect(lab.raft('n1').status()).toMatchObject({ role: 'leader', lastIndex: 2, commitIndex: 2 })
    expect(lab.network).toEqual([])
  })

  it('an append that carries more than fits is sent in parts, each at least one entry', () => {
    const lab = new Lab({ size: 3, limits: { appendBytesMax: 150 } }).startAll()
    lab.elect('n1')
    for (const id of ['a', 'b', 'c', 'd', 'e']) lab.propose('n1', { id, text: id.repeat(80) })
    const sizes: number[] = []
    lab.settle((message) => {
      if (message.kind === 'append-request' && message.to === n2) sizes.push(message.entries.length)
      return false
    })
    expect(sizes).toEqual([1, 1, 1, 1, 1])
  })
})

describe('Raft 5.4: safety', () => {
  it('5.4.1: a voter rejects a candidate whose log is less up to date than its own', () => {
    const places: [lastIndex: number, lastTerm: number, granted: boolean][] = [
      [2, 1, false], // an older term, shorter
      [9, 1, false], // an older term, longer
      [3, 2, false], // the same term, shorter
      [4, 2, true], // equal
      [5, 2, true], // the same term, longer
      [2, 3, true], // a newer term, shorter
    ]
    for (const [lastIndex, lastTerm, granted] of places) {
      const lab = cluster(3, { n1: [1, 1, 2, 2] })
      hear(lab, message('pre-vote-request', { from: n2, to: n1, term: 4, lastIndex, lastTerm }))
      hear(lab, message('vote-request', { from: n2, to: n1, term: 4, lastIndex, lastTerm, transfer: false }))
      lab.persistAll('n1')
      expect(lab.network).toMatchObject([
        { kind: 'pre-vote-response', granted },
        { kind: 'vote-response', granted },
      ])
    }
  })

  it('5.4.2: a leader commits entries of earlier terms only together with one of its own', () => {
    const lab = cluster(3, { n1: [1, 2, 2], n2: [1, 2, 2] })
    lab.campaign('n1')
    lab.settle(({ kind }) => kind === 'append-request')
    hear(lab, message('append-accepted', { from: n2, to: n1, term: 3, match: 3 }))
    expect(lab.raft('n1').status()).toMatchObject({ role: 'leader', commitIndex: 1 })
    hear(lab, message('append-accepted', { from: n2, to: n1, term: 3, match: 4 }))
    expect(lab.raft('n1').status().commitIndex).toBe(4)
  })

  it('5.4.3: a node without a committed entry is not elected', () => {
    const lab = ledCluster(3)
    lab.propose('n1', { id: 'x' })
    lab.settle(({ to }) => to === n3)
    lab.crash('n1')
    lab.tick('n2', 10)
    for (let round = 0; round < 5; round += 1) {
      lab.campaign('n3')
      lab.persistAll('n3')
      for (const request of lab.takeMessages(({ to }) => to === n2)) lab.deliver(request)
      lab.persistAll('n2')
      for (const answer of lab.takeMessages(({ to }) => to === n3)) lab.deliver(answer)
    }
    expect(lab.raft('n3').status().role).not.toBe('leader')
  })
})

describe('Raft 5.5: crashes', () => {
  it('a repeated append changes nothing and is answered alike', () => {
    const lab = cluster(3)
    const entries = [command(2, 2), command(3, 2)]
    const append = message('append-request', {
      from: n2,
      to: n1,
      term: 2,
      prevIndex: 1,
      prevTerm: 1,
      entries,
      commit: 2,
    })
    hear(lab, append)
    lab.persistAll('n1')
    const before = lab.raft('n1').status()
    hear(lab, append)
    expect(lab.raft('n1').status()).toEqual(before)
    expect(sent(lab, 'append-accepted')).toMatchObject([{ match: 3 }, { match: 3 }])
  })

  it('a follower that was down gets everything that it missed', () => {
    const lab = ledCluster(3)
    lab.crash('n3')
    for (const id of ['a', 'b', 'c']) lab.propose('n1', { id })
    lab.settle()
    lab.start('n3')
    for (let round = 0; round < 3; round += 1) {
      lab.tick('n1', 3)
      lab.settle()
    }
    expect(lab.node('n3').applied.map((entry) => entry.id)).toEqual(['', '', 'a', 'b', 'c'])
  })

  it('a rejection of what is acknowledged already is late and moves nothing back', () => {
    const lab = ledCluster(3)
    lab.propose('n1', { id: 'x' })
    lab.network = []
    hear(lab, message('append-rejected', { from: n2, to: n1, term: 2, prevIndex: 2, hintIndex: 0, hintTerm: 0 }))
    hear(lab, message('append-rejected', { from: n2, to: n1, term: 2, prevIndex: 1, hintIndex: 0, hintTerm: 0 }))
    expect(lab.network).toEqual([])
  })
})

describe('Raft 5.6: timing', () => {
  it('an election timeout that is not longer than a heartbeat is no configuration', () => {
    expect(() => new Lab({ size: 1, limits: { heartbeatTicks: 5, electionTicks: 5 } }).startAll()).toThrow(/heartbeat/)
  })
})

describe('Raft 8: clients', () => {
  it('a new leader appends a noop at once and so learns what is committed', () => {
    const lab = cluster(3, { n1: [1, 2], n2: [1, 2], n3: [1, 2] })
    lab.elect('n1')
    expect(lab.node('n1').log.at(-1)).toMatchObject({ kind: 'noop', term: 3, index: 3 })
    expect(lab.raft('n1').status().commitIndex).toBe(3)
  })

  it('a follower hands a proposal on to the leader, which does not append it twice', () => {
    const lab = ledCluster(3)
    lab.propose('n2', { id: 'x' })
    const [proposal] = lab.takeMessages(({ kind }) => kind === 'propose')
    for (let i = 0; i < 3; i += 1) if (proposal !== undefined) lab.deliver(proposal)
    lab.settle()
    if (proposal !== undefined) lab.deliver(proposal)
    expect(lab.node('n2').applied.map((entry) => entry.id)).toEqual(['', '', 'x'])
    expect(lab.raft('n1').status().lastIndex).toBe(3)
  })

  it('a proposal is refused where no leader is known', () => {
    const lab = cluster(3)
    expect(lab.propose('n1', { id: 'x' }).refused).toEqual([{ id: 'x', why: 'no-leader' }])
  })

  it('proposals beyond the limits are refused, and room that a lost one took becomes free again', () => {
    const lab = new Lab({ size: 3, limits: { pendingProposalsMax: 2, logBytesMax: 700 } }).startAll()
    lab.elect('n1')
    const refusals = ['a', 'b', 'c'].map((id) => lab.propose('n2', { id }).refused[0]?.why)
    expect(refusals).toEqual([undefined, undefined, 'overloaded'])
    lab.network = []
    for (let round = 0; round < 70; round += 1) {
      lab.tick('n1', 3)
      lab.tick('n2', 3)
      lab.settle()
    }
    expect(lab.propose('n2', { id: 'd' }).refused).toEqual([])
    for (const id of ['e', 'f', 'g', 'h', 'i']) {
      lab.propose('n1', { id, text: id.repeat(100) })
      lab.settle()
    }
    expect(lab.propose('n1', { id: 'j', text: 'j'.repeat(100) }).refused).toEqual([{ id: 'j', why: 'overloaded' }])
  })
})

describe('thesis 3.8: persistent state', () => {
  it('a vote outlives a crash, and another candidate of the term does not get it', () => {
    const lab = cluster(3)
    hear(lab, message('vote-request', { from: n2, to: n1, term: 2, lastIndex: 1, lastTerm: 1, transfer: false }))
    lab.persistAll('n1')
    lab.crash('n1')
    lab.start('n1')
    lab.network = []
    hear(lab, message('vote-request', { from: n3, to: n1, term: 2, lastIndex: 1, lastTerm: 1, transfer: false }))
    expect(lab.network).toMatchObject([{ kind: 'vote-response', granted: false }])
  })

  it('no vote, acceptance or request for a vote leaves before what it promises is durable', () => {
    const lab = cluster(3)
    hear(lab, message('vote-request', { from: n2, to: n1, term: 2, lastIndex: 1, lastTerm: 1, transfer: false }))
    const entries = [command(2, 2)]
    hear(lab, message('append-request', { from: n2, to: n1, term: 2, prevIndex: 1, prevTerm: 1, entries, commit: 1 }))
    expect(lab.network).toEqual([])
    lab.persist('n1')
    expect(lab.network.map(({ kind }) => kind)).toEqual(['vote-response'])
    lab.persist('n1')
    expect(lab.network.map(({ kind }) => kind)).toEqual(['vote-response', 'append-accepted'])
    lab.network = []
    lab.campaign('n1')
    lab.network = []
    hear(lab, message('pre-vote-response', { from: n2, to: n1, term: 3, granted: true }))
    expect(lab.raft('n1').status()).toMatchObject({ role: 'candidate', term: 3 })
    expect(lab.network).toEqual([])
    lab.persist('n1')
    expect(lab.network.map(({ kind }) => kind)).toEqual(['vote-request', 'vote-request'])
  })

  it("a candidate's own vote counts only when it is durable", () => {
    const lab = cluster(3)
    lab.campaign('n1')
    hear(lab, message('pre-vote-response', { from: n2, to: n1, term: 2, granted: true }))
    hear(lab, message('vote-response', { from: n2, to: n1, term: 2, granted: true }))
    expect(lab.raft('n1').status().role).toBe('candidate')
    lab.persist('n1')
    expect(lab.raft('n1').status().role).toBe('leader')
  })

  it('the commit index is never synced for its own sake, and comes back at the start as a hint', () => {
    const lab = ledCluster(1)
    lab.propose('n1', { id: 'x' })
    lab.persist('n1')
    expect(lab.node('n1').writes).toMatchObject([
      { mustSync: false, entries: [], hardState: { commit: 3, isRecovering: false } },
    ])
    lab.persistAll('n1')
    lab.crash('n1')
    lab.start('n1')
    expect(lab.node('n1').applied.map((entry) => entry.id)).toEqual(['', '', 'x'])
  })

  it('a stored commit index above the stored log is damage, and no node starts on it', () => {
    const lab = cluster(1)
    lab.node('n1').disk.hardState = { term: 1, vote: null, commit: 2, isRecovering: false }
    expect(() => lab.start('n1')).toThrow(/commit index/)
  })
})

describe('thesis 4: configuration', () => {
  it('4.2.2: a node that is no voter never campaigns, but votes when asked', () => {
    const lab = cluster(3)
    const data = encodeConfiguration({ ...makeConfiguration('lab' as ClusterId, [n2, n3]), learners: [n1] })
    lab.node('n1').disk.entries = [{ ...firstEntry([n2, n3]), data }]
    lab.start('n1')
    lab.tick('n1', 200)
    expect(lab.raft('n1').status()).toMatchObject({ role: 'follower', term: 1 })
    hear(lab, message('vote-request', { from: n2, to: n1, term: 2, lastIndex: 1, lastTerm: 1, transfer: false }))
    lab.persistAll('n1')
    expect(lab.network).toMatchObject([{ kind: 'vote-response', granted: true }])
  })

  it('4.1: a configuration rules from its append on, and its predecessor again when it is truncated', () => {
    const lab = cluster(3)
    const data = encodeConfiguration(makeConfiguration('lab' as ClusterId, nodeIds(5)))
    const entry = { index: 2, term: 2, kind: 'configuration' as const, id: '' as ProposalId, time: 0, data }
    const append = { to: n1, prevIndex: 1, prevTerm: 1, commit: 1 }
    hear(lab, message('append-request', { ...append, from: n2, term: 2, entries: [entry] }))
    expect(lab.raft('n1').status().configuration.voters).toHaveLength(5)
    hear(lab, message('append-request', { ...append, from: n3, term: 3, entries: [command(2, 3)] }))
    expect(lab.raft('n1').status().configuration.voters).toHaveLength(3)
  })

  it('4.2.3: a node that hears its leader ignores requests for votes, and its term stays', () => {
    const lab = ledCluster(3)
    for (const to of [n1, n2]) {
      hear(lab, message('vote-request', { from: n3, to, term: 9, lastIndex: 9, lastTerm: 9, transfer: false }))
      hear(lab, message('pre-vote-request', { from: n3, to, term: 9, lastIndex: 9, lastTerm: 9 }))
      expect(lab.raft(to).status()).toMatchObject({ term: 2, leader: n1 })
    }
    expect(lab.network).toEqual([])
  })

  it('4.1: a node that is no member is heard only as far as it may be one of a newer configuration', () => {
    const lab = cluster(3, { n1: [1, 2, 2], n2: [1, 2, 2], n3: [1, 2, 2] })
    const place = { from: 'n9', to: n1, term: 9, lastTerm: 2, transfer: true }
    // It does not know more than this node, so it can not be a member: its term is nobody's.
    hear(lab, message('vote-request', { ...place, lastIndex: 3 }))
    hear(lab, message('pre-vote-request', { ...place, lastIndex: 3 }))
    hear(lab, message('append-rejected', { from: 'n9', to: n1, term: 9, prevIndex: 1, hintIndex: 1, hintTerm: 1 }))
    hear(lab, message('heartbeat-response', { from: 'n9', to: n1, term: 9, read: 0, isDiskFull: false }))
    hear(lab, message('timeout-now', { from: 'n9', to: n1, term: 9 }))
    expect(lab.raft('n1').status().term).toBe(2)
    expect(lab.network).toEqual([])
    // It may know what makes it a candidate, or the leader.
    hear(lab, message('vote-request', { ...place, lastIndex: 4 }))
    lab.persistAll('n1')
    expect(lab.network).toMatchObject([{ kind: 'vote-response', to: 'n9', granted: true }])
    hear(lab, message('heartbeat-request', { from: 'n9', to: n1, term: 10, commit: 1, read: 0, match: 0 }))
    expect(lab.raft('n1').status()).toMatchObject({ term: 10, leader: 'n9' })
  })

  it('a message for another node, or from the node itself, is not heard', () => {
    const lab = cluster(3)
    const foreign = { term: 9, lastIndex: 9, lastTerm: 8, transfer: false }
    lab.step('n1', { kind: 'message', message: message('vote-request', { from: n1, to: n1, ...foreign }) })
    lab.step('n1', { kind: 'message', message: message('vote-request', { from: n2, to: n3, ...foreign }) })
    expect(lab.raft('n1').status().term).toBe(1)
    expect(lab.node('n1').writes).toEqual([])
  })
})

describe('thesis 6: clients', () => {
  it('6.2: a leader that a majority does not answer within an election timeout steps down, in its own term', () => {
    const lab = ledCluster(5)
    const answer = (from: string): void =>
      hear(lab, message('heartbeat-response', { from, to: n1, term: 2, read: 0, isDiskFull: false }))
    lab.tick('n1', 10)
    for (const from of ['n2', 'n3']) answer(from)
    lab.tick('n1', 10)
    expect(lab.raft('n1').status().role).toBe('leader')
    for (let i = 0; i < 5; i += 1) answer('n2')
    lab.tick('n1', 10)
    expect(lab.raft('n1').status()).toMatchObject({ role: 'follower', term: 2, leader: null })
  })

  it('6.2: a proposal of a lost leader is neither applied nor refused until its place in the log is decided', () => {
    const lab = ledCluster(3)
    lab.propose('n1', { id: 'x' })
    lab.persistAll('n1')
    lab.network = []
    const refused = Array.from({ length: 30 }, () => lab.step('n1', { kind: 'tick', now: 0 }).refused).flat()
    expect(lab.raft('n1').status().leader).toBe(null)
    expect(refused).toEqual([])
  })
})

describe('thesis 9.6: pre-vote', () => {
  it('a pre-vote changes neither term nor vote of any node, and may be given to several', () => {
    const lab = cluster(3)
    const before = lab.raft('n1').status()
    for (const from of [n2, n3]) {
      hear(lab, message('pre-vote-request', { from, to: n1, term: 2, lastIndex: 1, lastTerm: 1 }))
    }
    expect(lab.network).toMatchObject([{ granted: true }, { granted: true }])
    expect(lab.raft('n1').status()).toEqual(before)
    expect(lab.node('n1').writes).toEqual([])
  })

  it('a node that a majority would not vote for does not raise its term', () => {
    const lab = cluster(3)
    lab.campaign('n1')
    for (const from of [n2, n3]) hear(lab, message('pre-vote-response', { from, to: n1, term: 1, granted: false }))
    expect(lab.raft('n1').status()).toMatchObject({ role: 'follower', term: 1 })
  })

  it('a pre-vote is refused to a node whose log is behind, so it does not raise its term', () => {
    const lab = ledCluster(3)
    lab.propose('n1', { id: 'x' })
    lab.settle(({ to }) => to === n3)
    lab.crash('n1')
    lab.tick('n2', 10)
    lab.campaign('n3')
    lab.settle()
    expect(lab.raft('n3').status()).toMatchObject({ term: 2 })
  })

  it('a node that was cut off does not depose the leader when it is back', () => {
    const lab = ledCluster(3)
    lab.tick('n3', 500)
    lab.network = []
    lab.campaign('n3')
    lab.tick('n1', 3)
    lab.settle()
    for (const id of lab.ids) expect(lab.raft(id).status()).toMatchObject({ term: 2, leader: n1 })
  })

  it('a node whose term is ahead is led again: the leader hears of the term and is elected in a higher one', () => {
    const lab = cluster(3)
    lab.node('n3').disk.hardState = { term: 8, vote: n3, commit: 1, isRecovering: false }
    lab.start('n3')
    lab.campaign('n1')
    for (let round = 0; round < 100; round += 1) {
      lab.settle()
      for (const id of lab.ids) lab.tick(id)
    }
    lab.settle()
    expect(lab.leaders).toHaveLength(1)
    expect(lab.ids.map((id) => lab.raft(id).status().leader)).toEqual([lab.leaders[0], lab.leaders[0], lab.leaders[0]])
    expect(lab.raft('n3').status().term).toBeGreaterThan(8)
  })
})

describe('thesis 10.2: performance', () => {
  it("10.2.1: a leader sends an entry before it is on its own disk, and commits it by its followers' disks", () => {
    const lab = ledCluster(3)
    lab.propose('n1', { id: 'x' })
    expect(lab.node('n1').writes).toHaveLength(1)
    expect(sent(lab, 'append-request')).toHaveLength(2)
    for (const from of [n2, n3]) hear(lab, message('append-accepted', { from, to: n1, term: 2, match: 3 }))
    expect(lab.raft('n1').status().commitIndex).toBe(3)
    expect(lab.node('n1').applied).toHaveLength(2)
    lab.persistAll('n1')
    expect(lab.node('n1').applied).toHaveLength(3)
  })

  it('10.2.1: a leader counts itself only for what is on its own disk', () => {
    const lab = ledCluster(3)
    lab.propose('n1', { id: 'x' })
    hear(lab, message('append-accepted', { from: n2, to: n1, term: 2, match: 3 }))
    expect(lab.raft('n1').status().commitIndex).toBe(2)
    lab.persistAll('n1')
    expect(lab.raft('n1').status().commitIndex).toBe(3)
  })

  it('10.2.2: what is proposed between two takes is one batch on the disk and one request to each follower', () => {
    const lab = ledCluster(3)
    for (const id of ['a', 'b', 'c']) {
      const content = { kind: 'command', data: new Uint8Array(4) } as const
      lab.raft('n1').step({ kind: 'propose', id: id as ProposalId, content })
    }
    const { persist, send } = lab.take('n1')
    expect(persist?.entries.map((entry) => entry.id)).toEqual(['a', 'b', 'c'])
    expect(send.map((message) => 'entries' in message && message.entries.length)).toEqual([3, 3])
  })

  it('effects are handed out once', () => {
    const lab = ledCluster(3)
    lab.propose('n1', { id: 'x' })
    expect(lab.take('n1')).toEqual({
      persist: null,
      send: [],
      sendSnapshot: [],
      restore: null,
      apply: [],
      reads: [],
      readsRefused: [],
      refused: [],
      status: null,
    })
  })

  it('a node whose leader would overwrite what is committed stops, and names leader and entry', () => {
    const lab = ledCluster(3)
    const [from, to] = [n3, n2]
    const entries = [command(2, 3)]
    const overwrite = message('append-request', { from, to, term: 3, prevIndex: 1, prevTerm: 1, entries, commit: 1 })
    expect(() => hear(lab, overwrite)).toThrow('leader n3 of term 3 would overwrite entry 2, which is committed')
  })

  it('a driver that reports writes out of order is stopped', () => {
    const lab = ledCluster(3)
    lab.propose('n1', { id: 'x' })
    lab.propose('n1', { id: 'y' })
    const [, later] = lab.node('n1').writes
    expect(() => lab.raft('n1').step({ kind: 'persisted', seq: later?.seq ?? 0 })).toThrow(/oldest/)
  })
})

describe('determinism', () => {
  it('the same events give the same effects', () => {
    const run = (): string => {
      const raft = new Raft({
        ...labLimits,
        id: n1,
        hardState: { term: 1, vote: null, commit: 1, isRecovering: false },
        snapshot: null,
        entries: [firstEntry([n1, n2, n3])],
        seed: 7,
      })
      const effects = []
      for (let i = 0; i < 60; i += 1) {
        raft.step({ kind: 'tick', now: 0 })
        effects.push(raft.take())
      }
      return JSON.stringify(effects)
    }
    expect(run()).toBe(run())
  })
})
