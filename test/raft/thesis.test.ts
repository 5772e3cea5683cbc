import { describe, expect, it } from 'vitest'
import type { ConfigurationChange } from '../../src/raft/configuration.ts'
import type { Message, MessageKind } from '../../src/raft/messages.ts'
import type { NodeId, ProposalId } from '../../src/vocabulary/ids.ts'
import { command, Lab, message } from './lab.ts'
import type { LabLimits } from './lab.ts'
import { lastIndexOf } from './lab-disk.ts'

// One test per claim, as in paper.test.ts, of what goes beyond the basic algorithm: snapshots (Raft 7), handing over (thesis
// 3.10), who counts (thesis 4) and reads (thesis 6.4).

const n1 = 'n1' as NodeId
const n2 = 'n2' as NodeId
const n3 = 'n3' as NodeId
const n4 = 'n4' as NodeId

/** n1 leads term 2 and everybody has applied its noop. */
function ledCluster(size: number, limits: Partial<LabLimits> = {}): Lab {
  const lab = new Lab({ size, limits }).startAll()
  // With leases, nobody votes in the first election timeout of its life.
  if (limits.leaseReads === true) for (const id of lab.ids.slice(1)) lab.tick(id, 10)
  lab.elect('n1')
  return lab
}

function sent(lab: Lab, kind: MessageKind): Message[] {
  return lab.network.filter((message) => message.kind === kind)
}

let changes = 0

/** Proposes the change at the leader; what becomes of it is up to the test. */
function change(lab: Lab, asked: ConfigurationChange, at: NodeId = n1): string | undefined {
  changes += 1
  return lab.change(at, { id: `c${changes}`, change: asked }).refused[0]?.why
}

const addLearner = (node: NodeId): ConfigurationChange => ({ kind: 'add-learner', node, promote: false })

/** n1 leads n1, n2, n3, and n4 is a learner that has everything. */
function withLearner(limits: Partial<LabLimits> = {}): Lab {
  const lab = ledCluster(3, limits)
  lab.join('n4')
  change(lab, addLearner(n4))
  lab.settle()
  lab.beat('n1')
  return lab
}

function cut(...ids: NodeId[]): (message: { from: NodeId; to: NodeId }) => boolean {
  return ({ from, to }) => ids.includes(from) || ids.includes(to)
}

describe('Raft 7: snapshots', () => {
  it('a node takes a snapshot of what it has applied, and of nothing else', () => {
    const lab = ledCluster(3)
    lab.propose('n1', { id: 'x' })
    const raft = lab.raft('n1')
    expect(raft.snapshotMeta(3)).toBe(null)
    const snapshot = raft.snapshotMeta(2)
    expect(snapshot).toMatchObject({ index: 2, term: 2, configuration: { voters: [n1, n2, n3] } })
    if (snapshot === null) return
    expect(() => raft.step({ kind: 'snapshotted', snapshot: { ...snapshot, index: 3 } })).toThrow(/applied/)
  })

  it('each node compacts its log by itself, and keeps so many entries behind the snapshot as it is told', () => {
    const lab = ledCluster(3, { trailingEntries: 2 })
    for (const id of ['a', 'b', 'c']) lab.propose('n1', { id })
    lab.settle()
    lab.beat('n1')
    lab.snapshot('n2')
    lab.persistAll('n2')
    expect(lab.raft('n2').status()).toMatchObject({ firstIndex: 4, snapshotIndex: 5, lastIndex: 5 })
    expect(lab.node('n2').disk.entries.map(({ index }) => index)).toEqual([4, 5])
    expect(lab.raft('n1').status()).toMatchObject({ firstIndex: 1, snapshotIndex: 0 })
  })

  it('the log in memory and the bytes that it counts become smaller, and proposals are taken again', () => {
    const lab = ledCluster(1, { logBytesMax: 700 })
    lab.tick('n1')
    const propose = (id: string): string | undefined => {
      const { refused } = lab.propose('n1', { id, text: id.repeat(100) })
      lab.settle()
      return refused[0]?.why
    }
    expect(['a', 'b', 'c', 'd'].map(propose)).toContain('overloaded')
    lab.snapshot('n1')
    lab.settle()
    expect(lab.raft('n1').status().logBytes).toBe(0)
    expect(propose('e')).toBe(undefined)
  })

  it('the place before the first entry stays known: what follows it is accepted, what contradicts it is not', () => {
    const lab = ledCluster(3)
    lab.snapshot('n2')
    lab.persistAll('n2')
    const append = (prevTerm: number): Message =>
      message('append-request', {
        from: n1,
        to: n2,
        term: 3,
        prevIndex: 2,
        prevTerm,
        entries: [command(3, 3)],
        commit: 2,
      })
    lab.deliver(append(1))
    lab.deliver(append(2))
    lab.persistAll('n2')
    expect(lab.network.map(({ kind }) => kind)).toEqual(['append-rejected', 'append-accepted'])
  })

  it('a snapshot of a deposed leader is neither installed nor acknowledged', () => {
    const lab = ledCluster(3)
    lab.propose('n1', { id: 'x' })
    lab.settle(cut(n3))
    lab.snapshot('n1')
    lab.deliver(message('heartbeat-request', { from: n2, to: n3, term: 3, commit: 0, read: 0, match: 0 }))
    lab.network = []
    const snapshot = lab.node('n1').snapshots.get(3)?.meta
    expect(snapshot).toBeDefined()
    if (snapshot === undefined) return
    lab.step('n3', { kind: 'snapshot-received', from: n1, term: 2, snapshot })
    lab.persistAll('n3')
    expect(lab.network).toEqual([])
    expect(lab.raft('n3').status()).toMatchObject({ term: 3, lastIndex: 2, snapshotIndex: 0 })
  })

  it('a snapshot that is installed brings hard state, configuration and log in one batch', () => {
    const lab = withLearner()
    lab.snapshot('n1')
    lab.join('n4')
    const snapshot = lab.node('n1').snapshots.get(4)?.meta
    expect(snapshot).toBeDefined()
    if (snapshot === undefined) return
    lab.deliverSnapshot({ from: n1, to: n4, term: 2, snapshot })
    expect(lab.node('n4').writes).toMatchObject([
      {
        install: { index: 4, configuration: { learners: [n4] } },
        entries: [],
        hardState: { term: 2, commit: 4, isRecovering: true },
        mustSync: true,
      },
    ])
    expect(lab.node('n4').writes[0]?.then).toMatchObject([{ kind: 'recovery-request' }])
  })

  it('a proposal of a node that installs a snapshot meanwhile is neither refused nor forgotten for another: nobody knows', () => {
    const lab = ledCluster(3)
    lab.propose('n3', { id: 'x' })
    lab.settle(({ from, to, kind }) => cut(n3)({ from, to }) && kind !== 'propose')
    lab.snapshot('n1')
    const refused: ProposalId[] = []
    for (let round = 0; round < 6; round += 1) {
      lab.beat('n1')
      refused.push(...lab.take('n3').refused.map(({ id }) => id))
    }
    expect(lab.raft('n3').status()).toMatchObject({ snapshotIndex: 3, commitIndex: 3 })
    expect(refused).toEqual([])
  })
})

describe('replication', () => {
  it('requests to a member that keeps up follow each other without waiting, up to the window', () => {
    const lab = ledCluster(3, { inflightMax: 3 })
    for (const id of ['a', 'b', 'c', 'd', 'e']) lab.propose('n1', { id })
    const to = (node: NodeId): Message[] => sent(lab, 'append-request').filter((message) => message.to === node)
    expect(to(n2)).toHaveLength(3)
    expect(to(n3)).toHaveLength(3)
    lab.settle()
    expect(lab.node('n1').applied).toHaveLength(7)
  })

  it('a member that answers heartbeats only gets everything, whichever messages were lost', () => {
    for (const lost of ['append-request', 'append-accepted', 'append-rejected'] as const) {
      const lab = ledCluster(3, { inflightMax: 2 })
      for (const id of ['a', 'b', 'c', 'd', 'e']) lab.propose('n1', { id })
      lab.settle(({ kind, from, to }) => kind === lost && (from === n3 || to === n3))
      for (let round = 0; round < 10; round += 1) lab.beat('n1')
      expect(lab.node('n3').applied, lost).toHaveLength(7)
    }
  })

  it('nothing is sent to a member whose link broke until it is heard again', () => {
    const lab = ledCluster(3)
    lab.step('n1', { kind: 'unreachable', peer: n3 })
    lab.propose('n1', { id: 'x' })
    expect(sent(lab, 'append-request').map(({ to }) => to)).toEqual([n2])
    lab.beat('n1')
    lab.beat('n1')
    expect(lab.node('n3').applied).toHaveLength(3)
  })

  it('a snapshot goes to a member once, and nothing else until it has it or that failed', () => {
    const lab = ledCluster(3)
    for (const id of ['a', 'b']) lab.propose('n1', { id })
    lab.settle(cut(n3))
    lab.snapshot('n1')
    lab.propose('n1', { id: 'c' })
    for (let round = 0; round < 8; round += 1) {
      lab.tick('n1', 3)
      for (const heard of lab.takeMessages(({ from, to }) => from === n3 || to === n3)) lab.deliver(heard)
      for (const id of ['n1', 'n3']) lab.persistAll(id)
    }
    expect(lab.snapshotsOnTheirWay).toHaveLength(1)
    expect(lab.raft('n3').status().lastIndex).toBe(2)
    lab.settle()
    lab.beat('n1')
    expect(lab.node('n3').applied.map(({ id }) => id)).toEqual(['', '', 'a', 'b', 'c'])
  })

  it('a leader that lost the news of an installed snapshot finds out by asking', () => {
    const lab = ledCluster(3)
    for (const id of ['a', 'b']) lab.propose('n1', { id })
    lab.settle(cut(n3))
    lab.snapshot('n1')
    for (let round = 0; round < 10; round += 1) lab.beat('n1', ({ kind }) => kind === 'snapshot-installed')
    expect(lab.raft('n1').status().progress).toMatchObject([{ node: n2 }, { node: n3, state: 'replicate', match: 4 }])
  })
})

describe('a learner that comes back without its log', () => {
  it('is found out when its link is back, and gets everything anew', () => {
    const lab = withLearner()
    lab.propose('n1', { id: 'x' })
    lab.settle()
    lab.join('n4')
    lab.step('n1', { kind: 'unreachable', peer: n4 })
    for (let round = 0; round < 3; round += 1) lab.beat('n1')
    expect(lab.raft('n4').status()).toMatchObject({ isRecovering: false, commitIndex: 6 })
    expect(lab.node('n4').applied).toHaveLength(6)
  })

  it('is not promoted for what it had before', () => {
    const lab = ledCluster(3)
    lab.join('n4')
    change(lab, { kind: 'add-learner', node: n4, promote: true })
    lab.settle()
    lab.beat('n1')
    lab.join('n4')
    lab.step('n1', { kind: 'unreachable', peer: n4 })
    for (let round = 0; round < 5; round += 1) lab.beat('n1', ({ kind }) => kind === 'append-rejected')
    expect(lab.raft('n1').status().configuration.voters).toHaveLength(3)
  })
})

describe('thesis 3.10: leadership transfer', () => {
  it('a leader that hands over takes no proposals, its own or forwarded, until the transfer ends', () => {
    const lab = ledCluster(3)
    lab.step('n1', { kind: 'transfer', to: n3 })
    lab.network = []
    expect(lab.propose('n1', { id: 'x' }).refused).toEqual([{ id: 'x', why: 'transferring' }])
    lab.propose('n2', { id: 'y' })
    for (const proposal of lab.takeMessages(({ kind }) => kind === 'propose')) lab.deliver(proposal)
    expect(sent(lab, 'propose-refused')).toMatchObject([{ id: 'y', why: 'transferring' }])
    lab.network = []
    lab.tick('n1', 10)
    expect(lab.propose('n1', { id: 'z' }).refused).toEqual([])
  })

  it('the target is told only when its log is as long as the leader’s', () => {
    const lab = ledCluster(3)
    lab.propose('n1', { id: 'x' })
    lab.step('n1', { kind: 'transfer', to: n3 })
    expect(sent(lab, 'timeout-now')).toEqual([])
    lab.settle(({ kind }) => kind === 'timeout-now')
    lab.step('n1', { kind: 'transfer', to: n2 })
    expect(sent(lab, 'timeout-now')).toMatchObject([{ to: n2, term: 2 }])
  })

  it('the target leads the next term without waiting, and the old leader follows', () => {
    const lab = ledCluster(3)
    lab.step('n1', { kind: 'transfer', to: n3 })
    lab.settle()
    expect(lab.leaders).toEqual([n3])
    expect(lab.raft('n1').status()).toMatchObject({ role: 'follower', term: 3, leader: n3 })
  })

  it('a request to campaign counts only from the leader of the term, for a voter', () => {
    const lab = withLearner()
    for (const [from, to, term] of [
      [n2, n3, 2],
      [n1, n3, 1],
      [n1, n4, 2],
    ] as const) {
      lab.deliver(message('timeout-now', { from, to, term }))
      expect(lab.raft(to).status()).toMatchObject({ role: 'follower', term: 2 })
    }
  })
})

describe('thesis 4: changes of who counts', () => {
  it('a configuration rules from its append on: the leader counts by it before it is committed', () => {
    const lab = ledCluster(2)
    change(lab, { kind: 'remove', node: n2 })
    expect(lab.raft('n1').status().configuration).toMatchObject({ voters: [n1], votersOutgoing: [n1, n2] })
    expect(lab.raft('n1').status().isConfigurationCommitted).toBe(false)
  })

  it('a leader makes one change at a time, and none before it has committed something of its own term', () => {
    const lab = new Lab({ size: 3 }).startAll()
    lab.campaign('n1')
    lab.settle(({ kind }) => kind === 'append-accepted')
    expect(change(lab, addLearner(n4))).toBe('change-under-way')
    for (let round = 0; round < 3; round += 1) lab.beat('n1')
    expect(change(lab, addLearner(n4))).toBe(undefined)
    expect(change(lab, { kind: 'remove', node: n3 })).toBe('change-under-way')
    lab.settle()
    expect(change(lab, { kind: 'remove', node: n3 })).toBe(undefined)
  })

  it('learners get the log, and count for nothing', () => {
    const lab = withLearner()
    lab.propose('n1', { id: 'x' })
    lab.settle(cut(n2, n3))
    expect(lastIndexOf(lab.node('n4').disk)).toBe(5)
    expect(lab.raft('n1').status().commitIndex).toBe(4)
    lab.tick('n1', 20)
    expect(lab.raft('n1').status().role).toBe('follower')
  })

  it('4.2.1: a learner is promoted by itself after three rounds in which it had everything, and no earlier', () => {
    const lab = ledCluster(3)
    lab.join('n4')
    change(lab, { kind: 'add-learner', node: n4, promote: true })
    lab.settle()
    const voters: number[] = []
    for (let round = 0; round < 5; round += 1) {
      lab.beat('n1')
      voters.push(lab.raft('n1').status().configuration.voters.length)
    }
    expect(voters).toEqual([3, 3, 4, 4, 4])
    expect(lab.raft('n1').status().configuration).toMatchObject({ votersOutgoing: [], learners: [], promotable: [] })
  })

  it('4.2.1: a learner that does not answer, or lags, is not promoted, nor is one beyond the number of voters', () => {
    const silent = ledCluster(3)
    change(silent, { kind: 'add-learner', node: n4, promote: true })
    for (let round = 0; round < 10; round += 1) silent.beat('n1')
    expect(silent.raft('n1').status().configuration.voters).toHaveLength(3)
    const lagging = ledCluster(3)
    lagging.join('n4')
    change(lagging, { kind: 'add-learner', node: n4, promote: true })
    lagging.settle()
    for (let round = 0; round < 10; round += 1) {
      lagging.propose('n1', { id: `x${round}` })
      lagging.settle(({ to, kind }) => to === n4 && kind === 'append-request')
      lagging.beat('n1', ({ to, kind }) => to === n4 && kind === 'append-request')
    }
    expect(lagging.raft('n1').status().configuration.voters).toHaveLength(3)
    const enough = ledCluster(3, { votersMax: 3 })
    enough.join('n4')
    change(enough, { kind: 'add-learner', node: n4, promote: true })
    for (let round = 0; round < 10; round += 1) enough.beat('n1')
    expect(enough.raft('n1').status().configuration.learners).toEqual([n4])
    expect(change(enough, { kind: 'promote', node: n4 })).toBe(undefined)
  })

  it('4.2.1: a learner that has not got so far as to know that it is one can not be promoted', () => {
    const lab = ledCluster(3)
    lab.join('n4')
    change(lab, addLearner(n4))
    lab.settle(({ kind, to }) => to === n4 && kind === 'append-request')
    expect(change(lab, { kind: 'promote', node: n4 })).toBe('change-refused')
  })

  it('4.2.2: a leader that is being removed replicates, but is not counted', () => {
    const lab = ledCluster(3)
    change(lab, { kind: 'remove', node: n1 })
    lab.settle(({ kind }) => kind === 'append-accepted')
    for (const node of [n2, n3]) lab.deliver(message('append-accepted', { from: node, to: n1, term: 2, match: 3 }))
    expect(lab.raft('n1').status()).toMatchObject({ commitIndex: 3, configuration: { voters: [n2, n3] } })
    lab.persistAll('n1')
    lab.deliver(message('append-accepted', { from: n2, to: n1, term: 2, match: 4 }))
    expect(lab.raft('n1').status().commitIndex).toBe(3)
    lab.deliver(message('append-accepted', { from: n3, to: n1, term: 2, match: 4 }))
    expect(lab.raft('n1').status()).toMatchObject({ commitIndex: 4, role: 'follower' })
  })

  it('4.2.2: a node that its newest configuration removes may campaign until that is committed', () => {
    const lab = ledCluster(2)
    change(lab, { kind: 'remove', node: n1 })
    // The joint configuration is committed; what leaves it stays with n1.
    lab.settle(({ kind, to }) => kind === 'append-request' && to === n2 && lab.raft('n1').status().commitIndex === 3)
    lab.tick('n1', 20)
    lab.network = []
    expect(lab.raft('n1').status()).toMatchObject({
      role: 'follower',
      isConfigurationCommitted: false,
      configuration: { voters: [n2], votersOutgoing: [] },
    })
    lab.campaign('n1')
    expect(sent(lab, 'pre-vote-request')).toHaveLength(1)
  })

  it('4.2.3: a removed node hears that it is, and never campaigns again', () => {
    const lab = ledCluster(3)
    change(lab, { kind: 'remove', node: n3 })
    lab.settle()
    expect(lab.raft('n3').status()).toMatchObject({
      isConfigurationCommitted: true,
      configuration: { voters: [n1, n2] },
    })
    lab.tick('n3', 200)
    expect(lab.network).toEqual([])
    lab.beat('n1')
    expect(
      lab
        .raft('n1')
        .status()
        .progress.map(({ node }) => node),
    ).toEqual([n2])
  })

  it('4.3: while a change is under way, an entry needs a majority of both sets of voters', () => {
    const growing = withLearner()
    change(growing, { kind: 'promote', node: n4 })
    growing.settle(cut(n3, n4))
    // n1 and n2 are two of the three, and not three of the four.
    expect(growing.raft('n1').status().commitIndex).toBe(4)
    for (let round = 0; round < 4; round += 1) growing.beat('n1', cut(n3))
    expect(growing.raft('n1').status()).toMatchObject({ commitIndex: 6, configuration: { votersOutgoing: [] } })
    const shrinking = ledCluster(4)
    change(shrinking, { kind: 'remove', node: n4 })
    shrinking.settle(cut(n3, n4))
    // Again two of the three, and not three of the four.
    expect(shrinking.raft('n1').status().commitIndex).toBe(2)
    for (let round = 0; round < 4; round += 1) shrinking.beat('n1', cut(n4))
    expect(shrinking.raft('n1').status()).toMatchObject({ commitIndex: 4, configuration: { votersOutgoing: [] } })
  })

  it('4.3: while a change is under way, a candidate needs a majority of both sets of voters', () => {
    for (const [lab, asked] of [
      [withLearner(), { kind: 'promote', node: n4 }],
      [ledCluster(4), { kind: 'remove', node: n4 }],
    ] as const) {
      change(lab, asked)
      lab.settle(({ kind }) => kind === 'append-accepted')
      lab.crash('n1')
      lab.campaign('n2')
      const grant = (from: NodeId): void =>
        lab.deliver(message('pre-vote-response', { from, to: n2, term: 3, granted: true }))
      // n2 and n3 are two of the three, and not three of the four.
      grant(n3)
      expect(lab.raft('n2').status().role).toBe('pre-candidate')
      grant(n4)
      expect(lab.raft('n2').status().role).toBe('candidate')
    }
  })

  it('4.3: the log goes to the nodes of both sets, and any of them may lead', () => {
    const lab = ledCluster(3)
    change(lab, { kind: 'remove', node: n3 })
    lab.settle(({ kind }) => kind === 'append-accepted')
    expect(lastIndexOf(lab.node('n3').disk)).toBe(3)
    lab.network = []
    lab.crash('n1')
    for (const id of ['n2', 'n3']) lab.tick(id, 10)
    lab.start('n1')
    lab.tick('n1', 10)
    lab.campaign('n3')
    lab.settle()
    // It leads, commits what it found, leaves the joint configuration, and with it the cluster; another leads on.
    expect(lab.raft('n3').status()).toMatchObject({ role: 'follower', configuration: { voters: [n1, n2] } })
    expect(lab.leaders).toHaveLength(1)
    expect(lab.leaders).not.toContain(n3)
  })

  it('a node that begins with nothing answers no candidate before it has what was committed when it was let in', () => {
    const lab = ledCluster(3)
    lab.join('n4')
    const ask = (lastIndex: number): void =>
      lab.deliver(message('vote-request', { from: n2, to: n4, term: 9, lastIndex, lastTerm: 8, transfer: true }))
    ask(99)
    change(lab, addLearner(n4))
    lab.settle(({ to, kind }) => to === n4 && kind === 'append-request')
    const first = lab.node('n1').log[0]
    expect(first).toBeDefined()
    if (first === undefined) return
    const append = { from: n1, to: n4, term: 2, prevIndex: 0, prevTerm: 0, commit: 3 }
    lab.deliver(message('append-request', { ...append, entries: [first] }))
    lab.persistAll('n4')
    lab.network = []
    ask(99)
    expect(lab.network).toEqual([])
    expect(lab.raft('n4').status().term).toBe(2)
    lab.beat('n1')
    lab.beat('n1')
    ask(99)
    lab.persistAll('n4')
    expect(sent(lab, 'vote-response')).toMatchObject([{ granted: true }])
  })
})

describe('who is removed while it can not be reached', () => {
  it('gets the log for one election timeout more, and then nothing', () => {
    const lab = ledCluster(3)
    change(lab, { kind: 'remove', node: n3 })
    lab.settle(cut(n3))
    lab.tick('n1', 3)
    expect(lab.network.map(({ to }) => to)).toEqual([n2, n3])
    lab.settle(cut(n3))
    for (let round = 0; round < 4; round += 1) lab.beat('n1', cut(n3))
    lab.tick('n1', 3)
    expect(lab.network.map(({ to }) => to)).toEqual([n2])
  })
})

describe('thesis 6.4: reads', () => {
  it('reads that come in together share one round, and each is answered once', () => {
    const lab = ledCluster(3)
    for (const id of [1, 2, 3]) lab.raft('n1').step({ kind: 'read', id })
    lab.take('n1')
    expect(sent(lab, 'heartbeat-request')).toHaveLength(2)
    lab.settle()
    expect(lab.node('n1').readable).toEqual([1, 2, 3].map((id) => ({ id, index: 2 })))
  })

  it('a read sees what was committed before it came in, also when the answer comes after later writes', () => {
    const lab = ledCluster(3)
    lab.propose('n1', { id: 'x' })
    lab.settle()
    lab.step('n1', { kind: 'read', id: 1 })
    lab.propose('n1', { id: 'y' })
    lab.settle()
    expect(lab.node('n1').readable).toEqual([{ id: 1, index: 3 }])
  })

  it('a follower, and a learner, asks the leader for all the reads of one take at once', () => {
    for (const reader of [n2, n4]) {
      const lab = withLearner()
      for (const id of [1, 2]) lab.raft(reader).step({ kind: 'read', id })
      lab.take(reader)
      expect(sent(lab, 'read-request')).toHaveLength(1)
      lab.settle()
      expect(lab.node(reader).readable).toEqual([1, 2].map((id) => ({ id, index: 4 })))
    }
  })

  it('a deposed leader that does not know it answers no read', () => {
    const lab = ledCluster(3)
    for (const id of ['n2', 'n3']) lab.tick(id, 10)
    lab.campaign('n2')
    lab.settle(cut(n1))
    lab.propose('n2', { id: 'x' })
    lab.settle(cut(n1))
    lab.step('n1', { kind: 'read', id: 1 })
    lab.settle()
    expect(lab.node('n1').readable).toEqual([])
    expect(lab.node('n1').readsRefused).toEqual([1])
  })

  it('a new leader answers no read before it has committed something of its own term', () => {
    const lab = ledCluster(3)
    lab.crash('n1')
    lab.tick('n3', 10)
    lab.campaign('n2')
    lab.settle(({ kind }) => kind === 'append-accepted')
    lab.step('n2', { kind: 'read', id: 1 })
    lab.settle(({ kind }) => kind === 'append-accepted')
    expect(lab.node('n2').readable).toEqual([])
    lab.beat('n2')
    lab.beat('n2')
    expect(lab.node('n2').readable).toEqual([{ id: 1, index: 3 }])
  })

  it('no more reads wait than may, here or at the leader', () => {
    const lab = ledCluster(3, { pendingReadsMax: 2 })
    for (const id of [1, 2, 3]) lab.step('n1', { kind: 'read', id })
    expect(lab.node('n1').readsRefused).toEqual([3])
    lab.step('n2', { kind: 'read', id: 4 })
    for (const request of lab.takeMessages(({ kind }) => kind === 'read-request')) lab.deliver(request)
    expect(sent(lab, 'read-refused')).toHaveLength(1)
    lab.settle()
    expect(lab.node('n1').readable).toHaveLength(2)
    expect(lab.node('n2').readsRefused).toEqual([4])
  })

  it('6.4.1: with leases, a node that vouched for a leader neither votes nor campaigns while that counts', () => {
    const lab = ledCluster(3, { leaseReads: true })
    lab.beat('n1')
    lab.step('n2', { kind: 'unreachable', peer: n1 })
    lab.step('n2', { kind: 'peer-gone', peer: n1 })
    lab.tick('n2', 9)
    expect(lab.network).toEqual([])
    lab.deliver(message('vote-request', { from: n3, to: n2, term: 3, lastIndex: 9, lastTerm: 2, transfer: false }))
    expect(lab.raft('n2').status().term).toBe(2)
  })

  it('6.4.1: without leases every read asks a majority', () => {
    const lab = ledCluster(3)
    lab.beat('n1')
    lab.step('n1', { kind: 'read', id: 1 })
    expect(lab.node('n1').readable).toEqual([])
    expect(sent(lab, 'heartbeat-request')).toHaveLength(2)
  })
})

describe('a leader whose process is gone', () => {
  it('is replaced within a few ticks, by pre-vote and vote as ever', () => {
    for (const size of [3, 5]) {
      const lab = ledCluster(size)
      lab.crash('n1')
      const others = lab.ids.slice(1)
      for (const id of others) lab.step(id, { kind: 'peer-gone', peer: n1 })
      let ticks = 0
      while (lab.leaders.length === 0 && ticks < 20) {
        for (const id of others) lab.tick(id)
        lab.settle()
        ticks += 1
      }
      expect(ticks).toBe(1)
      expect(lab.raft('n2').status()).toMatchObject({ role: 'leader', term: 3 })
    }
  })

  it('is replaced soon, too, when the others hear of it one after the other, or the first in turn lags', () => {
    const lab = ledCluster(3)
    lab.propose('n1', { id: 'x' })
    lab.settle(cut(n2))
    lab.crash('n1')
    lab.step('n2', { kind: 'peer-gone', peer: n1 })
    lab.tick('n2', 1)
    lab.settle()
    lab.step('n3', { kind: 'peer-gone', peer: n1 })
    let ticks = 0
    while (lab.leaders.length === 0 && ticks < 20) {
      for (const id of ['n2', 'n3']) lab.tick(id)
      lab.settle()
      ticks += 1
    }
    expect(ticks).toBeLessThan(8)
    expect(lab.leaders).toEqual([n3])
  })
})
