import { describe, expect, it } from 'vitest'
import type { MemberStatus } from '../../src/gossip/messages.ts'
import { NodeCommands } from '../../src/node/node-commands.ts'
import type { ConfigurationChange } from '../../src/raft/configuration.ts'
import type { RaftStatus } from '../../src/raft/effects.ts'
import type { Command, CommandResult } from '../../src/state/command.ts'
import type { StateReader } from '../../src/state/reader.ts'
import { realClock } from '../../src/std/clock.ts'
import type { NodeId } from '../../src/vocabulary/ids.ts'
import { OperatingError } from '../../src/vocabulary/operating-error.ts'

type World = {
  voters?: readonly string[]
  learners?: readonly string[]
  /** Of others than n1, which is asked; who is not named is not known. */
  gossip?: Readonly<Record<string, MemberStatus>>
  answer?: CommandResult
  leaving?: readonly string[]
  /** In the directory, beside who counts. */
  listed?: readonly string[]
  changes?: readonly ('done' | OperatingError)[]
  /** Who has just joined, which this node does not know yet; or why it can not be told. */
  joined?: readonly string[] | OperatingError
}

function makeCommands(world: World) {
  const { voters = ['n1', 'n2', 'n3'], learners = [], gossip = { n2: 'alive', n3: 'alive' } } = world
  const did: unknown[] = []
  const changes = [...(world.changes ?? [])]
  const status = { configuration: { voters, votersOutgoing: [], learners } } as unknown as RaftStatus
  const commands = new NodeCommands({
    self: 'n1' as NodeId,
    raft: () => status,
    newestConfiguration: async () => {
      const { joined = [] } = world
      if (joined instanceof OperatingError) throw joined
      return { ...status.configuration, learners: [...learners, ...joined] as NodeId[] }
    },
    state: {
      members: () => [...voters, ...learners, ...(world.listed ?? [])].map((node) => ({ node })),
      drains: () => new Map((world.leaving ?? []).map((node) => [node, 'leave'])),
    } as unknown as StateReader,
    gossip: {
      members: () =>
        Object.entries(gossip).map(([node, is]) => ({
          node: node as NodeId,
          generation: 1,
          incarnation: 0,
          status: is,
          address: 'h:1',
          sinceTick: 0,
        })),
      remove: (node) => did.push(`gossip removes ${node}`),
    },
    propose: async (command: Command) => {
      did.push(command)
      return world.answer ?? { kind: 'done', revision: 1 }
    },
    changeConfiguration: async (change: ConfigurationChange) => {
      did.push(change)
      const outcome = changes.shift()
      if (outcome instanceof OperatingError) throw outcome
    },
    clock: realClock,
  })
  return { commands, did }
}

const limits = { timeoutMs: 1000, signal: new AbortController().signal }
const removing = (id: string, world: World, force = false): Promise<void> =>
  makeCommands(world).commands.remove(id, { ...limits, force })

describe('what an operator wants of a node', () => {
  it.each([
    ['drain', 'drain'],
    ['undrain', null],
    ['leave', 'leave'],
  ] as const)('%s is made known to all', async (verb, drain) => {
    const { commands, did } = makeCommands({})
    await commands[verb]('n2', limits)
    expect(did).toEqual([{ kind: 'member-drain', node: 'n2', drain }])
  })

  it.each(['drain', 'undrain', 'leave'] as const)('%s of a node that nobody knows is not found', async (verb) => {
    const { commands, did } = makeCommands({ gossip: { n9: 'left' } })
    for (const id of ['n8', 'n9']) await expect(commands[verb](id, limits)).rejects.toMatchObject({ code: 'not-found' })
    expect(did).toEqual([])
  })

  it('of one that is not in the directory yet is not found', async () => {
    const { commands } = makeCommands({ answer: { kind: 'not-found' } })
    await expect(commands.drain('n2', limits)).rejects.toMatchObject({
      code: 'not-found',
      message: 'drain n2: it is not in the directory yet; see: quorate node list',
    })
  })

  it.each(['drain', 'leave'] as const)('%s of a dead node is refused, with what to do', async (verb) => {
    const { commands, did } = makeCommands({ gossip: { n2: 'dead', n3: 'alive' } })
    await expect(commands[verb]('n2', limits)).rejects.toMatchObject({
      code: 'change-refused',
      message: `${verb} n2: gossip says that it is dead; it can not ${verb}; to take it out of the cluster: quorate node remove n2`,
    })
    expect(did).toEqual([])
  })

  it('leave is refused of the last voter that stays, and of no other', async () => {
    await makeCommands({ leaving: ['n2'] }).commands.leave('n3', limits)
    const { commands, did } = makeCommands({ leaving: ['n2', 'n3'] })
    await expect(commands.leave('n1', limits)).rejects.toMatchObject({
      code: 'change-refused',
      message:
        'leave n1: the other voters (n2, n3) are to leave already; to end the cluster, stop the processes; to go on, have one stay: quorate node drain n2 --cancel',
    })
    expect(did).toEqual([])
  })
})

describe('the removal of a node', () => {
  it('takes it out of the configuration, then out of gossip', async () => {
    const { commands, did } = makeCommands({ gossip: { n2: 'alive', n3: 'dead' } })
    await commands.remove('n3', { ...limits, force: false })
    expect(did).toEqual([{ kind: 'remove', node: 'n3' }, 'gossip removes n3'])
  })

  it('of one that Raft does not count is one of gossip', async () => {
    const { commands, did } = makeCommands({ gossip: { n4: 'dead' } })
    await commands.remove('n4', { ...limits, force: false })
    expect(did).toEqual(['gossip removes n4'])
  })

  it('of one that has joined while this node lags behind is one of Raft all the same, and of nobody while that can not be told', async () => {
    const gossip = { n2: 'alive', n3: 'alive', n4: 'dead' } as const
    const { commands, did } = makeCommands({ gossip, joined: ['n4'] })
    await commands.remove('n4', { ...limits, force: false })
    expect(did).toEqual([{ kind: 'remove', node: 'n4' }, 'gossip removes n4'])
    const untold = new OperatingError('no-leader', 'an election is under way')
    const blind = makeCommands({ gossip, joined: untold })
    await expect(blind.commands.remove('n4', { ...limits, force: false })).rejects.toBe(untold)
    expect(blind.did).toEqual([])
  })

  it('waits for another change to end', async () => {
    const underWay = new OperatingError('change-under-way', 'another change')
    const { commands, did } = makeCommands({ gossip: { n2: 'alive', n3: 'dead' }, changes: [underWay, 'done'] })
    await commands.remove('n3', { ...limits, force: false })
    expect(did).toHaveLength(3)
    const never = makeCommands({
      gossip: { n2: 'alive', n3: 'dead' },
      changes: Array.from({ length: 20 }, () => underWay),
    })
    await expect(never.commands.remove('n3', { timeoutMs: 150, force: false })).rejects.toBe(underWay)
  })

  it('looks anew whether the rest can do without it, each time that it has waited', async () => {
    const underWay = new OperatingError('change-under-way', 'another change')
    const world = {
      gossip: { n2: 'dead', n3: 'alive' } as Record<string, MemberStatus>,
      changes: [underWay, 'done'] as const,
    }
    const { commands, did } = makeCommands(world)
    const refused = commands.remove('n2', { ...limits, force: false })
    world.gossip['n3'] = 'dead'
    await expect(refused).rejects.toMatchObject({ code: 'no-quorum' })
    expect(did).toHaveLength(1)
  })

  it('by hand takes out who lives and who is dead, but nobody whom the others need to decide', async () => {
    const { commands, did } = makeCommands({ gossip: { n2: 'alive', n3: 'alive' } })
    await commands.removeMember('n2' as NodeId, 1000)
    expect(did).toEqual([{ kind: 'remove', node: 'n2' }, 'gossip removes n2'])
    const needed = makeCommands({ gossip: { n2: 'alive', n3: 'dead' } })
    await expect(needed.commands.removeMember('n2' as NodeId, 1000)).rejects.toMatchObject({ code: 'change-refused' })
    const refusal = new OperatingError('change-refused', 'it is no member')
    const stranger = makeCommands({ changes: [refusal] })
    await expect(stranger.commands.removeMember('n9' as NodeId, 1000)).rejects.toBe(refusal)
    expect([needed.did, stranger.did]).toEqual([[], [{ kind: 'remove', node: 'n9' }]])
  })

  it.each<[string, World, string, string]>([
    [
      'it is alive',
      {},
      'change-refused',
      'remove n2: gossip says that it is alive; to let it go in order: quorate node leave n2; to take it out all the same: quorate node remove n2 --force',
    ],
    [
      'gossip has not heard of it',
      { gossip: { n3: 'alive' } },
      'change-refused',
      'so it may be alive; ask again a little later; if it is gone for good: quorate node remove n2 --force',
    ],
    ['it is suspect', { gossip: { n2: 'suspect', n3: 'alive' } }, 'change-refused', 'gossip says that it is suspect'],
    [
      'the rest could decide nothing',
      { voters: ['n1', 'n2', 'n3', 'n4', 'n5'], gossip: { n2: 'dead', n3: 'dead', n4: 'alive', n5: 'suspect' } },
      'no-quorum',
      'remove n2: 2 of 5 voters are alive, too few to decide it: start n3, n5 first; if that can not be: quorate raft recover --help',
    ],
    [
      'nobody can decide it',
      { voters: ['n1', 'n2'], gossip: { n2: 'dead' } },
      'no-quorum',
      'remove n2: 1 of 2 voters are alive, too few to decide it',
    ],
  ])('is refused while %s', async (_, world, code, message) => {
    const { commands, did } = makeCommands(world)
    const refused = commands.remove('n2', { ...limits, force: false })
    await expect(refused).rejects.toMatchObject({ code, message: expect.stringContaining(message) as string })
    expect(did).toEqual([])
  })

  it('is forced on one that is alive, but not on who the others need to decide', async () => {
    await expect(removing('n2', {}, true)).resolves.toBeUndefined()
    await expect(removing('n2', { gossip: { n2: 'alive', n3: 'dead' } }, true)).rejects.toMatchObject({
      code: 'change-refused',
      message:
        'remove n2: too few of the voters that would be left (n1, n3) are alive to decide anything: start n3 first; if that can not be: quorate raft recover --help',
    })
    await expect(removing('n1', { voters: ['n1'] }, true)).rejects.toMatchObject({
      message: expect.stringContaining('it is the only voter') as string,
    })
  })

  it('of a learner asks for no quorum but the one that there is', async () => {
    const { commands, did } = makeCommands({ learners: ['n4'], gossip: { n2: 'alive', n3: 'dead', n4: 'dead' } })
    await commands.remove('n4', { ...limits, force: false })
    expect(did).toHaveLength(2)
  })
})

describe('a node that neither Raft counts nor gossip has heard of', () => {
  it('is removed without force: nothing hangs on it', async () => {
    await expect(removing('n2', { voters: ['n1'], listed: ['n2'], gossip: {} })).resolves.toBeUndefined()
  })
})

describe('this node', () => {
  it('takes itself out of the configuration, if it is in it', async () => {
    const inIt = makeCommands({})
    await inIt.commands.leaveConfiguration(1000)
    expect(inIt.did).toEqual([{ kind: 'remove', node: 'n1' }])
    const outOfIt = makeCommands({ voters: ['n2', 'n3'] })
    await outOfIt.commands.leaveConfiguration(1000)
    expect(outOfIt.did).toEqual([])
  })

  it.each(['dead', 'suspect'] as const)(
    'stays while one of two others is %s: the rest could decide nothing',
    async (n3) => {
      const { commands, did } = makeCommands({ gossip: { n2: 'alive', n3 } })
      await expect(commands.leaveConfiguration(1000)).rejects.toMatchObject({ code: 'change-refused' })
      expect(did).toEqual([])
    },
  )

  it('is told when that may not be done', async () => {
    const unknown = new OperatingError('outcome-unknown', 'no outcome')
    await expect(makeCommands({ changes: [unknown] }).commands.leaveConfiguration(1000)).rejects.toBe(unknown)
  })
})
