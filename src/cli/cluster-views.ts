/** `quorate status`, `server list`: what the cluster looks like from one node. */
import type { Command } from 'commander'
import { fieldText, listOf, objectOf } from './client.ts'
import { talksToNode, withClient, type CommandContext, type NodeOptions } from './command.ts'
import { printJson, printPairs, printRows, type Column } from './printers.ts'
import { say } from './terminal.ts'

type Row = Readonly<Record<string, unknown>>

export function addClusterViews(program: Command, context: CommandContext): void {
  talksToNode(program.command('status').description('the cluster on one screen: leader, log, members, servers')).action(
    (options: NodeOptions) => context.run(() => status(context, options)),
  )
  const server = program.command('server').description('MCP servers behind the cluster')
  talksToNode(server.command('list').description('servers and where they run')).action((options: NodeOptions) =>
    context.run(() => servers(context, options)),
  )
}

function status(context: CommandContext, options: NodeOptions): ReturnType<typeof withClient> {
  const { terminal } = context
  return withClient(context, options, async (client) => {
    const [body, serversBody] = await Promise.all([client.get('/v1/status'), client.get('/v1/servers')])
    const view = objectOf(body)
    const rows = listOf(serversBody, 'servers')
    if (options.json === true) return printJson(terminal, { ...view, servers: rows })
    printPairs(terminal, [
      ['node', fieldText(view, 'node')],
      ['version', fieldText(view, 'version')],
      ['leader', fieldText(view, 'leader')],
      ['term', fieldText(view, 'term')],
      ['committed', fieldText(view, 'commitIndex')],
      ['applied', fieldText(view, 'appliedIndex')],
      ...autopilotRows(view),
      ...troubles(view),
    ])
    const blank = terminal.stdout.isTTY === true ? '\n' : ''
    terminal.stdout.write(blank)
    printRows(terminal, listOf(body, 'members'), marked('member', terminal.stdout.isTTY === true, memberColumns))
    terminal.stdout.write(blank)
    printRows(terminal, rows, marked('server', terminal.stdout.isTTY === true, serverColumns))
    if (view['leader'] === null)
      say(terminal, 'no leader is known: most of the nodes must run and reach each other; look at their logs')
  })
}

function servers(context: CommandContext, options: NodeOptions): ReturnType<typeof withClient> {
  const { terminal } = context
  return withClient(context, options, async (client) => {
    const body = await client.get('/v1/servers')
    if (options.json === true) return printJson(terminal, body)
    const rows = listOf(body, 'servers')
    printRows(terminal, rows, serverColumns)
    if (rows.length === 0) say(terminal, 'no servers: list them under mcpServers in the configuration of a node')
  })
}

const memberColumns: readonly Column<Row>[] = [
  { title: 'MEMBER', text: (row) => fieldText(row, 'id') },
  { title: 'STATUS', text: (row) => fieldText(row, 'status') },
  { title: 'COUNTS AS', text: (row) => fieldText(row, 'raft') },
  { title: 'HTTP', text: (row) => fieldText(objectOf(row['addresses']), 'http') },
  { title: 'PEER', text: (row) => fieldText(objectOf(row['addresses']), 'peer') },
  { title: 'RAFT', text: (row) => fieldText(objectOf(row['addresses']), 'raft') },
  { title: 'VERSION', text: (row) => fieldText(row, 'version') },
  { title: 'DISAGREES', text: (row) => fieldText(row, 'disagrees'), max: 80 },
]

const serverColumns: readonly Column<Row>[] = [
  { title: 'SERVER', text: (row) => fieldText(row, 'name') },
  { title: 'STATUS', text: (row) => fieldText(row, 'status') },
  {
    title: 'NODES',
    text: (row) =>
      listOf(row, 'replicas')
        .map((replica) => `${fieldText(replica, 'node')}:${fieldText(replica, 'status')}`)
        .join(' ') || '-',
  },
  { title: 'TOOLS', text: (row) => fieldText(row, 'tools') },
  { title: 'RESOURCES', text: (row) => fieldText(row, 'resources') },
  { title: 'PROMPTS', text: (row) => fieldText(row, 'prompts') },
  {
    title: 'REASON',
    text: (row) =>
      [
        ...listOf(row, 'replicas')
          .filter((replica) => replica['status'] !== 'ready')
          .map((replica) => `${fieldText(replica, 'node')}: ${fieldText(replica, 'reason')}`),
        ...hiddenText(listOf(row, 'hidden')),
      ].join('; ') || '-',
    max: 80,
  },
]

/** Names that other servers have as well. */
function hiddenText(hidden: readonly Row[]): string[] {
  const [first] = hidden
  if (first === undefined) return []
  return [
    `hidden by the same name: ${hidden.length}, first ${fieldText(first, 'name')} on ${fieldText(first, 'path')}, which shows that of ${fieldText(first, 'shown')}`,
  ]
}

/** Without a terminal several kinds of lines follow each other: the first field says which. */
function marked(kind: string, isTerminal: boolean, columns: readonly Column<Row>[]): readonly Column<Row>[] {
  return isTerminal ? columns : [{ title: '', text: () => kind }, ...columns]
}

/** What the leader makes of who votes; of another node's status only who is to be asked. */
function autopilotRows(view: Row): (readonly [string, string])[] {
  const { autopilot, leader } = view
  if (autopilot === null && typeof leader === 'string')
    return [['autopilot', `${leader} leads and decides: ask it with --url`]]
  if (typeof autopilot !== 'object' || autopilot === null) return []
  const decided = objectOf(autopilot)
  const next = objectOf(decided['next'])
  const holds = Array.isArray(decided['holds']) ? decided['holds'].map(String) : []
  const does =
    'kind' in next ? [`${fieldText(next, 'kind')} ${fieldText(next, 'node')}: ${fieldText(next, 'why')}`] : []
  const target = fieldText(decided, 'voterTarget')
  const wants = `voter target ${target}; ${fieldText(decided, 'failureTolerance')} more may fail`
  return [wants, ...does, ...holds].map((text) => ['autopilot', text] as const)
}

/** What is wrong with the node itself, or with who votes, if anything is. */
function troubles(view: Row): (readonly [string, string])[] {
  const rows: (readonly [string, string])[] = []
  const { quarantine, diskFull } = view
  if (typeof quarantine === 'object' && quarantine !== null)
    rows.push(['quarantine', quarantineText(objectOf(quarantine))])
  if (diskFull === true)
    rows.push([
      'disk',
      'full: this node takes no writes while it leads, and may fall behind while another does; make room',
    ])
  if (Array.isArray(view['warnings'])) rows.push(...view['warnings'].map((text) => ['warning', String(text)] as const))
  return rows
}

function quarantineText(quarantine: Row): string {
  const why = fieldText(quarantine, 'why')
  if (quarantine['over'] !== true) return `this node neither votes nor counts until it is repaired: ${why}`
  const isVerified = quarantine['verified'] === true
  return `over: repaired${isVerified ? ` and verified up to entry ${fieldText(quarantine, 'lostUpTo')}` : ''}: ${why}`
}
