/** `quorate raft`: the consensus of one node as it sees it, who leads, and who counts. */
import type { Command } from 'commander'
import { OperatingError } from '../vocabulary/operating-error.ts'
import { AdminClient, fieldText, listOf, objectOf } from './client.ts'
import { talksToNode, withClient, type CommandContext, type NodeOptions } from './command.ts'
import type { ExitCode } from './exit-codes.ts'
import { printJson, printPairs, printRows, type Column } from './printers.ts'
import { addRecover } from './raft-recover.ts'
import { say } from './terminal.ts'

type Row = Readonly<Record<string, unknown>>
type TransferOptions = NodeOptions & { readonly to?: string }
type LearnerOptions = NodeOptions & { readonly address?: string; readonly promote?: boolean }

export function addRaft(program: Command, context: CommandContext): void {
  const raft = program.command('raft').description('consensus: who leads and who counts')
  talksToNode(raft.command('status').description('role, term, log and configuration of one node')).action(
    (options: NodeOptions) => context.run(() => status(context, options)),
  )
  talksToNode(raft.command('transfer').description('hand leadership over'))
    .option('--to <id>', 'to this voter; to the one that is furthest when left out')
    .action((options: TransferOptions) => context.run(() => transfer(context, options)))
  talksToNode(raft.command('add-learner <id>').description('add a node that gets the log but has no vote'))
    .option('--promote', 'make it a voter as soon as it has caught up')
    .option('--address <host:port>', 'its raft listener, where it can not find the cluster by its own cluster.join')
    .action((id: string, options: LearnerOptions) => context.run(() => addLearner(context, id, options)))
  talksToNode(raft.command('promote <id>').description('make a learner a voter')).action(
    (id: string, options: NodeOptions) => context.run(() => promote(context, id, options)),
  )
  talksToNode(
    raft.command('remove <id>').description('take a voter or learner out, with all that it publishes'),
  ).action((id: string, options: NodeOptions) => context.run(() => remove(context, id, options)))
  addRecover(raft, context)
}

function status(context: CommandContext, options: NodeOptions): Promise<ExitCode> {
  const { terminal } = context
  return withClient(context, options, async (client) => {
    const body = await client.get('/v1/raft')
    if (options.json === true) return printJson(terminal, body)
    const view = objectOf(body)
    const ids = (name: string): string => (Array.isArray(view[name]) ? view[name].map(String).join(' ') : '') || '-'
    printPairs(terminal, [
      ...numbers.map((name) => [name, fieldText(view, name)] as const),
      ...idLists.map((name) => [name, ids(name)] as const),
    ])
    const isTerminal = terminal.stdout.isTTY === true
    const progress = listOf(body, 'progress')
    if (progress.length === 0) return
    if (isTerminal) terminal.stdout.write('\n')
    printRows(terminal, progress, isTerminal ? columns : [{ title: '', text: () => 'progress' }, ...columns])
  })
}

const numbers = [
  'id',
  'clusterId',
  'role',
  'term',
  'leader',
  'commitIndex',
  'appliedIndex',
  'lastIndex',
  'firstIndex',
  'snapshotIndex',
  'configurationCommitted',
] as const
const idLists = ['voters', 'votersOutgoing', 'learners', 'promotable'] as const

const columns: readonly Column<Row>[] = [
  { title: 'NODE', text: (row) => fieldText(row, 'id') },
  { title: 'MATCH', text: (row) => fieldText(row, 'matchIndex') },
  { title: 'STATE', text: (row) => (row['recovering'] === true ? 'recovering' : fieldText(row, 'state')) },
  { title: 'ACTIVE', text: (row) => (row['active'] === true ? 'yes' : 'no') },
]

/** Only the leader can: where another node answers, the leader that it names is asked. */
function transfer(context: CommandContext, options: TransferOptions): Promise<ExitCode> {
  const { terminal } = context
  const body = JSON.stringify(options.to === undefined ? {} : { to: options.to })
  return withClient(context, options, async (client) => {
    const answer = await askLeader(context, client, { path: '/v1/raft/transfer', body })
    if (options.json === true) printJson(terminal, answer)
    else say(terminal, `${fieldText(objectOf(answer), 'leader')} leads now; next: ${terminal.self} raft status`)
  })
}

/** Leadership may move while it is asked for. */
const asksMax = 3

async function askLeader(
  context: CommandContext,
  client: AdminClient,
  what: { readonly path: string; readonly body: string; readonly asks?: number },
): Promise<unknown> {
  const { path, body, asks = 1 } = what
  let address: unknown
  try {
    return (await client.send({ method: 'POST', path, body })).body
  } catch (error) {
    if (error instanceof OperatingError && error.code === 'not-leader') address = error.details?.['address']
    if (typeof address !== 'string' || asks === asksMax) throw error
  }
  say(context.terminal, `asking the leader, at ${address}`)
  const leader = new AdminClient(`${new URL(client.url).protocol}//${address}`, context.terminal.interrupted)
  try {
    return await askLeader(context, leader, { ...what, asks: asks + 1 })
  } finally {
    await leader.close()
  }
}

function addLearner(context: CommandContext, id: string, options: LearnerOptions): Promise<ExitCode> {
  const { address, promote } = options
  const body = { id, ...(address === undefined ? {} : { address }), ...(promote === true ? { promote } : {}) }
  const becomes = promote === true ? 'becomes a voter once it has caught up' : 'is a learner'
  return change(context, options, {
    method: 'POST',
    path: '/v1/raft/learners',
    body: JSON.stringify(body),
    done: `added ${id}, which ${becomes}`,
  })
}

function promote(context: CommandContext, id: string, options: NodeOptions): Promise<ExitCode> {
  return change(context, options, {
    method: 'POST',
    path: '/v1/raft/promote',
    body: JSON.stringify({ id }),
    done: `${id} is a voter`,
  })
}

function remove(context: CommandContext, id: string, options: NodeOptions): Promise<ExitCode> {
  return change(context, options, {
    method: 'DELETE',
    path: `/v1/raft/members/${encodeURIComponent(id)}`,
    done: `removed ${id}, whose process may be stopped now`,
  })
}

type Change = {
  readonly method: 'POST' | 'DELETE'
  readonly path: string
  readonly body?: string
  readonly done: string
}

function change(context: CommandContext, options: NodeOptions, { done, ...what }: Change): Promise<ExitCode> {
  const { terminal } = context
  return withClient(context, options, async (client) => {
    const { body } = await client.send(what)
    if (options.json === true) printJson(terminal, body)
    else say(terminal, `${done}; next: ${terminal.self} raft status`)
  })
}
