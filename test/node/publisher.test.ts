import { describe, expect, it } from 'vitest'
import { realClock } from '../../src/std/clock.ts'
import { deferred } from '../../src/std/deferred.ts'
import { Random } from '../../src/std/random.ts'
import type { NodeId, ServerName } from '../../src/vocabulary/ids.ts'
import { OperatingError } from '../../src/vocabulary/operating-error.ts'
import { silentLog } from '../../src/log/log.ts'
import { Publisher } from '../../src/node/publisher.ts'
import { decodeCommand, encodeCommand } from '../../src/state/command-codec.ts'
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
    isolation: 'shared',
    whenUnavailable: 'keep',
    groups: [],
  }
}

/** A publisher before a state whose changes trigger it, as in a node; commands go through their bytes. */
function makePublisher(meet: (command: Command) => Promise<void> | void = () => undefined): {
  publisher: Publisher
  state: ClusterState
  proposed: string[]
} {
  const state = new ClusterState()
  const proposed: string[] = []
  const propose = async (command: Command): Promise<CommandResult> => {
    await Promise.resolve()
    proposed.push(command.kind)
    // An endless loop of promises would leave the test no turn to see it.
    if (proposed.length > 100) await new Promise(() => undefined)
    await meet(command)
    const result = state.apply({
      index: state.appliedIndex + 1,
      time: 1,
      command: decodeCommand(encodeCommand({ command, idempotencyKey: null })),
    })
    const { catalog, members } = state.takeChange()
    if (catalog || members) publisher.trigger()
    return result
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
    const { publisher, state } = makePublisher(() => {
      if (failures-- > 0) throw new OperatingError('no-leader', 'propose: no leader')
    })
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

  it('does not let one server that is refused hold up the others, nor propose it again and again', async () => {
    const { publisher, state, proposed } = makePublisher((command) => {
      if (command.kind === 'replica-set' && command.replica.server === 'big')
        throw new OperatingError('too-large', 'propose: the command is larger than a log entry may be')
    })
    publisher.setReplica(replica('big'))
    publisher.setReplica(replica('files'))
    publisher.setReplica(replica('sql'))
    await expect.poll(() => state.replicas().map((known) => known.server)).toEqual(['files', 'sql'])
    await settled()
    expect(proposed.length).toBeLessThan(10)
  })

  it('agrees with what the log makes of half a character at the end of a reason', async () => {
    const { publisher, state, proposed } = makePublisher()
    publisher.setReplica({ ...replica('files', 'failed'), reason: `${'x'.repeat(499)}\u{1f4a5}` })
    await expect.poll(() => state.replicas().length).toBe(1)
    await settled()
    expect(proposed).toEqual(['member-set', 'replica-set'])
    publisher.trigger()
    await settled()
    expect(proposed).toHaveLength(2)
  })

  it('withdraws what is on its way into the state when it stops', async () => {
    const arrived = deferred<void>()
    const gate = deferred<void>()
    const { publisher, state } = makePublisher((command) => {
      if (command.kind !== 'replica-set') return undefined
      arrived.resolve()
      return gate.promise
    })
    publisher.setReplica(replica('files'))
    await arrived.promise
    const stopped = publisher.stop(100)
    gate.resolve()
    await stopped
    expect(state.replicas()).toEqual([])
  })
})

/** All promises that can settle by themselves have. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
