import { describe, expect, it } from 'vitest'
import { silentLog } from '../../src/log/log.ts'
import { Directory } from '../../src/node/directory.ts'
import type { RaftStatus } from '../../src/raft/effects.ts'
import type { Command, CommandResult, Member } from '../../src/state/command.ts'
import { ClusterState } from '../../src/state/state.ts'
import { realClock } from '../../src/std/clock.ts'
import { Random } from '../../src/std/random.ts'
import type { PeerHello } from '../../src/vocabulary/handshake.ts'
import type { ClusterId, NodeId } from '../../src/vocabulary/ids.ts'

const ids = (...names: string[]): NodeId[] => names as NodeId[]
const member = (node: string, generation = 1): Member => ({
  node: node as NodeId,
  generation,
  addresses: { http: `${node}:1`, peer: `${node}:2`, raft: `${node}:3` },
  labels: {},
  version: '1',
  startedAt: 0,
})

class Rig {
  readonly state = new ClusterState()
  readonly proposed: Command[] = []
  linked: PeerHello[] = []
  raft: RaftStatus | null = null
  readonly directory = new Directory({
    raft: () => this.raft,
    state: this.state,
    linked: () => this.linked,
    propose: async (command) => {
      this.proposed.push(command)
      return this.apply(command)
    },
    clock: realClock,
    random: new Random(1),
    log: silentLog,
  })

  apply(command: Command): CommandResult {
    const index = this.state.appliedIndex + 1
    return this.state.apply({ index, time: index, command: { command, idempotencyKey: null } })
  }

  know(...members: Member[]): void {
    for (const each of members) this.apply({ kind: 'member-set', member: each })
  }

  /** Of a status that is as new as the state. */
  lead(voters: string[], more: Partial<RaftStatus> & { learners?: string[]; votersOutgoing?: string[] } = {}): void {
    const { learners = [], votersOutgoing = [], ...rest } = more
    this.raft = {
      role: 'leader',
      commitIndex: this.state.appliedIndex,
      isConfigurationCommitted: true,
      configuration: {
        clusterId: 'c' as ClusterId,
        voters: ids(...voters),
        votersOutgoing: ids(...votersOutgoing),
        learners: ids(...learners),
        promotable: [],
      },
      ...rest,
    } as RaftStatus
  }

  link(node: string, generation = 3): void {
    this.linked.push({ ...member(node, generation), boot: 'b', clusterName: 'c', clusterId: null, promised: null })
  }

  /** What it proposes now. */
  async run(): Promise<readonly Command[]> {
    this.proposed.length = 0
    this.directory.trigger()
    await new Promise((resolve) => setImmediate(resolve))
    return this.proposed
  }
}

describe('the directory', () => {
  it('loses who has left the configuration, by the word of the leader', async () => {
    const rig = new Rig()
    rig.know(member('n1'), member('n2'), member('n3'), member('n4', 7))
    rig.lead(['n1', 'n2'], { learners: ['n3'] })
    expect(await rig.run()).toEqual([{ kind: 'member-delete', node: 'n4', generation: 7 }])
    expect(rig.state.members().map(({ node }) => node)).toEqual(['n1', 'n2', 'n3'])
    expect(await rig.run()).toEqual([])
  })

  it.each<[string, Partial<RaftStatus> & { votersOutgoing?: string[] }]>([
    ['this node does not lead', { role: 'follower' }],
    ['the configuration is not committed', { isConfigurationCommitted: false }],
    ['the configuration may be older than the state', { commitIndex: 1 }],
    ['the node still counts in the joint configuration', { votersOutgoing: ['n1', 'n2'] }],
  ])('loses nobody while %s', async (_, more) => {
    const rig = new Rig()
    rig.know(member('n1'), member('n2'))
    rig.lead(['n1'], more)
    expect(await rig.run()).toEqual([])
  })

  it('gets a learner that a linked node introduces, and keeps what the learner says of itself', async () => {
    const rig = new Rig()
    rig.know(member('n1'))
    rig.link('n4')
    rig.link('n5')
    rig.lead(['n1'], { role: 'follower', learners: ['n4'] })
    expect(await rig.run()).toEqual([{ kind: 'member-set', member: { ...member('n4', 3), version: '1' } }])
    rig.know({ ...member('n4', 3), labels: { zone: 'a' } })
    expect(await rig.run()).toEqual([])
  })

  it('gets a learner that only an operator knows, until somebody knows more', async () => {
    const rig = new Rig()
    rig.know(member('n1'))
    rig.directory.introduce('n4' as NodeId, '10.0.0.4:6272')
    rig.lead(['n1'], { learners: ['n4'] })
    const [proposed] = await rig.run()
    expect(proposed).toMatchObject({
      member: { node: 'n4', generation: 0, addresses: { peer: '', raft: '10.0.0.4:6272' } },
    })
    rig.know(member('n4', 1))
    expect(await rig.run()).toEqual([])
    rig.apply({ kind: 'member-delete', node: 'n4' as NodeId, generation: 1 })
    expect(await rig.run()).toEqual([])
  })

  it('stays as it is before the cluster has formed, and once stopped', async () => {
    const rig = new Rig()
    rig.link('n4')
    expect(await rig.run()).toEqual([])
    rig.lead([], { learners: ['n4'] })
    rig.directory.stop()
    expect(await rig.run()).toEqual([])
  })
})
