/** `quorate node`: who is in the cluster, how each fares, and what happens to them. */
import type { Command } from 'commander'
import { OperatingError } from '../vocabulary/operating-error.ts'
import { errorOf, fieldText, listOf, objectOf } from './client.ts'
import type { AdminClient } from './client.ts'
import { talksToNode, withClient, type CommandContext, type NodeOptions } from './command.ts'
import type { ServerEvent } from './event-stream.ts'
import type { ExitCode } from './exit-codes.ts'
import { addNodeLife } from './node-life.ts'
import { printJson, printPairs, printRows, type Column } from './printers.ts'
import { oneLine, type Terminal } from './terminal.ts'

type Row = Readonly<Record<string, unknown>>
type ListOptions = NodeOptions & { readonly watch?: boolean }

export function addNode(program: Command, context: CommandContext): void {
  const node = program.command('node').description('the members of the cluster')
  talksToNode(node.command('list').description('who is there, by gossip and by Raft, and how each fares'))
    .option('--watch', 'then tell what happens, a line each, until interrupted')
    .action((options: ListOptions) => context.run(() => list(context, options)))
  talksToNode(node.command('show <id>').description('all that is known of one member')).action(
    (id: string, options: NodeOptions) => context.run(() => show(context, id, options)),
  )
  addNodeLife(node, context)
}

function list(context: CommandContext, options: ListOptions): Promise<ExitCode> {
  return withClient(context, options, async (client) => {
    if (options.watch === true) return watch(context.terminal, client, options.json === true)
    await printMembers(context.terminal, client, options.json === true)
  })
}

async function printMembers(terminal: Terminal, client: AdminClient, json: boolean): Promise<void> {
  const body = await client.get('/v1/members')
  if (json) terminal.stdout.write(`${JSON.stringify(body)}\n`)
  else printRows(terminal, listOf(body, 'members'), columns)
}

/** Listens first, and asks who is there behind that, so that nothing is missed in between. */
async function watch(terminal: Terminal, client: AdminClient, json: boolean): Promise<void> {
  for await (const { event, data } of client.events('/v1/events', { silenceMs })) {
    if (event === 'open') await printMembers(terminal, client, json)
    else if (event === 'error') throw errorOf(JSON.parse(data), 'the events')
    else if (json) terminal.stdout.write(`{"kind":${JSON.stringify(event)},${data.slice(data.indexOf('{') + 1)}\n`)
    else printEvent(terminal, { event, data })
  }
  throw new OperatingError('timeout', `${client.url} has ended the events; ask another node`)
}

function printEvent({ stdout }: Terminal, { event, data }: Pick<ServerEvent, 'event' | 'data'>): void {
  const { time, ...fields } = objectOf(JSON.parse(data))
  const at = typeof time === 'number' && Math.abs(time) < 8.64e15 ? new Date(time).toISOString() : '-'
  const rest = Object.keys(fields).map((name) => `${name} ${valueText(fields[name])}`)
  stdout.write(`${[at, event, ...rest].map(oneLine).join(stdout.isTTY === true ? '  ' : '\t')}\n`)
}

function show(context: CommandContext, id: string, options: NodeOptions): Promise<ExitCode> {
  const { terminal } = context
  return withClient(context, options, async (client) => {
    const member = listOf(await client.get('/v1/members'), 'members').find((each) => each['id'] === id)
    if (member === undefined) throw new OperatingError('not-found', `${client.url} knows no node ${JSON.stringify(id)}`)
    if (options.json === true) return printJson(terminal, member)
    printPairs(
      terminal,
      Object.entries(member).flatMap(([name, value]) => {
        const nested = Object.entries(objectOf(value))
        if (nested.length > 0) return nested.map(([key, text]) => [`${name}.${key}`, valueText(text)] as const)
        return [[name, typeof value === 'object' ? '-' : fieldText(member, name)] as const]
      }),
    )
  })
}

const columns: readonly Column<Row>[] = [
  { title: 'NODE', text: (row) => fieldText(row, 'id') },
  { title: 'STATUS', text: (row) => fieldText(row, 'status') },
  { title: 'RAFT', text: (row) => fieldText(row, 'raft') },
  { title: 'GENERATION', text: (row) => fieldText(row, 'generation') },
  { title: 'HTTP', text: (row) => fieldText(objectOf(row['addresses']), 'http') },
  { title: 'CPU', text: (row) => gauge(row, 'cpu', (value) => `${Math.round(value * 100)} %`) },
  { title: 'MEMORY', text: (row) => gauge(row, 'rssBytes', (value) => `${Math.round(value / 2 ** 20)} MiB`) },
  { title: 'LOOP DELAY', text: (row) => gauge(row, 'loopDelayMs', (value) => `${Math.round(value)} ms`) },
  { title: 'CALLS', text: (row) => gauge(row, 'activeCalls', String) },
  { title: 'DRAINING', text: (row) => fieldText(row, 'draining') },
  { title: 'DISAGREES', text: (row) => fieldText(row, 'disagrees'), max: 80 },
]

function gauge(row: Row, name: string, text: (value: number) => string): string {
  const value = objectOf(row['metrics'])[name]
  return typeof value === 'number' ? text(value) : '-'
}

function valueText(value: unknown): string {
  return Array.isArray(value) ? value.map(String).join(' ') || '-' : fieldText({ value }, 'value')
}

/** A node says something at least every 15 s. */
const silenceMs = 45_000
