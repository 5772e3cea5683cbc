/** `quorate tool`: list the tools of the cluster and call one. */
import type { Command } from 'commander'
import { OperatingError } from '../vocabulary/operating-error.ts'
import { fieldText, listOf, objectOf } from './client.ts'
import { argumentText, talksToNode, wholeNumberOption, withClient } from './command.ts'
import type { CommandContext, NodeOptions } from './command.ts'
import { exitCodes, type ExitCode } from './exit-codes.ts'
import { printJson, printRows } from './printers.ts'
import { harmless, say, type Terminal } from './terminal.ts'

type CallOptions = NodeOptions & { readonly args: string; readonly timeout?: string }

export function addTool(program: Command, context: CommandContext): void {
  const tool = program.command('tool').description('tools of all servers')
  talksToNode(tool.command('list').description('list the tools that the cluster offers')).action(
    (options: NodeOptions) => context.run(() => list(context, options)),
  )
  talksToNode(tool.command('call <name>').description("call a tool and print its result's text"))
    .option('--args <json>', 'arguments, a JSON object, or - to read it from stdin', '{}')
    .option('--timeout <ms>', "longest time to the result, ms; the server's own when left out")
    .action((name: string, options: CallOptions) => context.run(() => call(context, name, options)))
}

function list(context: CommandContext, options: NodeOptions): Promise<ExitCode> {
  const { terminal } = context
  return withClient(context, options, async (client) => {
    const body = await client.get('/v1/tools')
    if (options.json === true) return printJson(terminal, body)
    const rows = listOf(body, 'tools')
    printRows(terminal, rows, [
      { title: 'TOOL', text: (row) => fieldText(row, 'name'), max: 64 },
      { title: 'SERVER', text: (row) => fieldText(row, 'server') },
      { title: 'DESCRIPTION', text: (row) => fieldText(objectOf(row['definition']), 'description') },
    ])
    if (rows.length === 0) say(terminal, `no tools: see what the servers say with: ${terminal.self} server list`)
  })
}

async function call(context: CommandContext, name: string, options: CallOptions): Promise<ExitCode> {
  const { terminal } = context
  const args = await argumentText(terminal, options.args)
  if (!isObjectText(args))
    throw new OperatingError(
      'bad-request',
      `--args takes a JSON object, for example: ${terminal.self} tool call ${name} --args '{"name":"value"}'`,
    )
  const timeout =
    options.timeout === undefined ? '' : `,"timeoutMs":${wholeNumberOption('--timeout', options.timeout, 1)}`
  let failed = false
  const exit = await withClient(context, options, async (client) => {
    const { body, text } = await client.send({
      method: 'POST',
      path: `/v1/tools/${encodeURIComponent(name)}/call`,
      body: `{"arguments":${args}${timeout}}`,
      waitMs: 0,
    })
    const result = objectOf(objectOf(body)['result'])
    failed = result['isError'] === true
    if (options.json === true) terminal.stdout.write(`${text.trim()}\n`)
    else printResult(terminal, result)
    if (failed) say(terminal, `${name} says that it failed`)
  })
  return failed ? exitCodes.failed : exit
}

/** Text as it is; structured content where there is no text; of everything else a line on stderr. */
function printResult(terminal: Terminal, result: ReturnType<typeof objectOf>): void {
  const { stdout } = terminal
  const content = listOf(result, 'content')
  const texts = content.filter((item) => item['type'] === 'text')
  for (const item of content)
    if (item['type'] !== 'text') say(terminal, `${describeContent(item)}; see all of it with --json`)
  for (const item of texts) {
    const text = typeof item['text'] === 'string' ? item['text'] : ''
    stdout.write(`${harmless(stdout, text)}${text.endsWith('\n') ? '' : '\n'}`)
  }
  if (texts.length === 0 && result['structuredContent'] !== undefined) printJson(terminal, result['structuredContent'])
}

function describeContent(item: ReturnType<typeof objectOf>): string {
  const size = typeof item['data'] === 'string' ? `, ${item['data'].length} characters of base64` : ''
  const uri = fieldText(item['type'] === 'resource' ? objectOf(item['resource']) : item, 'uri')
  return `${fieldText(item, 'type')} ${fieldText(item, 'mimeType')}${uri === '-' ? '' : ` ${uri}`}${size}`
}

function isObjectText(text: string): boolean {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null && !Array.isArray(value)
  } catch {
    return false
  }
}
