import { describe, expect, it } from 'vitest'
import { realClock } from '../../src/std/clock.ts'
import { Random } from '../../src/std/random.ts'
import type { NodeId, ServerName } from '../../src/vocabulary/ids.ts'
import { OperatingError } from '../../src/vocabulary/operating-error.ts'
import { silentLog } from '../../src/log/log.ts'
import { Publisher } from '../../src/node/publisher.ts'
import type { Command, CommandResult, Member, Replica } from '../../src/state/command.ts'
import { ClusterState } from '../../src/state/state.ts'

const member: Member = {
  node: 'n1' as NodeId,
  generation: 2,
  addresses: { http: 'h:1', peer: 'h:2', raft: 'h:3' },
  labels: {},
  version: '1',
  startedAt: 1,
}

function replica(server: string, status: Replica['status'] = 'ready'): Replica {
  return {
    node: member.node,
    generation: member.generation,
    server: server as ServerName,
    transport: 'stdio',
    status,
    reason: '',
    priority: 0,
    offer: null,
  }
}

function makePublisher(fail: () => boolean = () => false): {
  publisher: Publisher
  state: ClusterState
  proposed: string[]
} {
  const state = new ClusterState()
  const proposed: string[] = []
  const propose = async (command: Command): Promise<CommandResult> => {
    await Promise.resolve()
    proposed.push(command.kind)
    if (fail()) throw new OperatingError('no-leader', 'propose: no leader')
    return state.apply({ index: state.appliedIndex + 1, command })
  }
  const publisher = new Publisher({ member, state, propose, clock: realClock, random: new Random(1), log: silentLog })
  return { publisher, state, proposed }
}

describe('the publisher', () => {
  it('brings the directory and the replicas to what is true here, and then proposes nothing more', async () => {
    const { publisher, state, proposed } = makePublisher()
    publisher.setReplica(replica('files'))
    publisher.setReplica(replica('sql', 'starting'))
    await expect.poll(() => state.replicas().length).toBe(2)
    publisher.setReplica(replica('sql'))
    await expect.poll(() => state.replicas()[1]?.status).toBe('ready')
    const count = proposed.length
    publisher.trigger()
    await expect.poll(() => proposed.length).toBe(count)
    expect(state.members()).toEqual([member])
  })

  it('tries again after a failure until the state agrees', async () => {
    let failures = 3
    const { publisher, state } = makePublisher(() => failures-- > 0)
    publisher.setReplica(replica('files'))
    await expect.poll(() => state.replicas().length, { timeout: 10_000 }).toBe(1)
    await publisher.stop(100)
  })

  it('withdraws what this process published when it stops, and is silent afterwards', async () => {
    const { publisher, state, proposed } = makePublisher()
    publisher.setReplica(replica('files'))
    await expect.poll(() => state.replicas().length).toBe(1)
    await publisher.stop(100)
    expect(state.replicas()).toEqual([])
    const count = proposed.length
    publisher.setReplica(replica('files', 'failed'))
    expect(proposed).toHaveLength(count)
  })
})
