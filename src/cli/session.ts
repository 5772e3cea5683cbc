/** `quorate session`: the sessions of MCP clients, which every node of the cluster serves: listed, ended. */
import type { Command } from 'commander'
import { fieldText, listOf } from './client.ts'
import { talksToNode, withClient, type CommandContext, type NodeOptions } from './command.ts'
import type { ExitCode } from './exit-codes.ts'
import { printJson, printRows, timeText, type Column } from './printers.ts'
import { say } from './terminal.ts'

type Row = Readonly<Record<string, unknown>>

export function addSession(program: Command, context: CommandContext): void {
  const session = program.command('session').description('sessions of MCP clients')
  talksToNode(session.command('list').description('the sessions of the whole cluster, oldest first')).action(
    (options: NodeOptions) => context.run(() => list(context, options)),
  )
  talksToNode(session.command('close <id>').description('end a session: what it has under way is cancelled')).action(
    (id: string, options: NodeOptions) => context.run(() => close(context, id, options)),
  )
}

function list(context: CommandContext, options: NodeOptions): Promise<ExitCode> {
  const { terminal } = context
  return withClient(context, options, async (client) => {
    const body = await client.get('/v1/sessions')
    if (options.json === true) return printJson(terminal, body)
    const rows = listOf(body, 'sessions')
    printRows(terminal, rows, columns)
    if (rows.length === 0) say(terminal, `no sessions: point an MCP client at ${client.url}/mcp`)
  })
}

const columns: readonly Column<Row>[] = [
  { title: 'SESSION', text: (row) => fieldText(row, 'id') },
  { title: 'CLIENT', text: (row) => fieldText(row, 'client') },
  { title: 'PROTOCOL', text: (row) => fieldText(row, 'protocolVersion') },
  { title: 'PATH', text: (row) => fieldText(row, 'path') },
  { title: 'SINCE', text: (row) => timeText(row['startedAt']) },
  { title: 'LAST USED', text: (row) => timeText(row['lastUsedAt']) },
]

function close(context: CommandContext, id: string, options: NodeOptions): Promise<ExitCode> {
  const { terminal } = context
  return withClient(context, options, async (client) => {
    const { body } = await client.send({ method: 'DELETE', path: `/v1/sessions/${encodeURIComponent(id)}` })
    if (options.json === true) return printJson(terminal, body)
    say(terminal, `session ${id} has ended on every node; its client is told so, and begins another when it goes on`)
  })
}
