/** `quorate token`: the short-lived right to join the cluster: made, listed, revoked. */
import { open, rm } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import type { Command } from 'commander'
import { joinTokenLifetimeMaxMs, joinTokenLifetimeMinMs } from '../vocabulary/join-token-limits.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import { fieldText, listOf, objectOf } from './client.ts'
import type { AdminClient } from './client.ts'
import { talksToNode, wholeNumberOption, withClient, type CommandContext, type NodeOptions } from './command.ts'
import type { ExitCode } from './exit-codes.ts'
import { printJson, printRows, timeText, type Column } from './printers.ts'
import { say, shellWord, type Terminal } from './terminal.ts'

type Row = Readonly<Record<string, unknown>>
type CreateOptions = NodeOptions & {
  readonly expires?: string
  readonly uses?: string
  readonly note?: string
  readonly out?: string
}

export function addToken(program: Command, context: CommandContext): void {
  const token = program.command('token').description('who may join the cluster')
  talksToNode(token.command('create').description('make a token by which new nodes join; it is printed this once'))
    .option('--expires <duration>', 'how long it lets nodes in: a number with s, m, h or d behind (default: 1h)')
    .option('--uses <n>', 'how many nodes it lets in (default: 1)')
    .option('--note <text>', 'what to remember of it')
    .option('--out <file>', 'write it into this new file, which only its owner reads, and not to stdout')
    .action((options: CreateOptions) => context.run(() => create(context, options)))
  talksToNode(token.command('list').description('the tokens that are known, and whom they let in')).action(
    (options: NodeOptions) => context.run(() => list(context, options)),
  )
  talksToNode(token.command('revoke <id>').description('let nobody in any more by a token')).action(
    (id: string, options: NodeOptions) => context.run(() => revoke(context, id, options)),
  )
}

function create(context: CommandContext, options: CreateOptions): Promise<ExitCode> {
  const { terminal } = context
  const { expires, uses, note, out } = options
  const body = JSON.stringify({
    ...(expires === undefined ? {} : { expiresInMs: durationOption('--expires', expires) }),
    ...(uses === undefined ? {} : { uses: wholeNumberOption('--uses', uses, 1) }),
    ...(note === undefined ? {} : { note }),
  })
  return withClient(context, options, async (client) => {
    const addresses = await joinAddresses(client)
    const make = async (): Promise<Made> =>
      madeOf(client, await client.send({ method: 'POST', path: '/v1/tokens', body }))
    const made = out === undefined ? await make() : await intoFile(out, make)
    print(terminal, made, options)
    sayNext(terminal, made, { addresses, file: out ?? null })
  })
}

type Made = { readonly token: string; readonly answer: Row }

function madeOf(client: AdminClient, { body }: { readonly body: unknown }): Made {
  const answer = objectOf(body)
  const { token } = answer
  if (typeof token === 'string') return { token, answer }
  throw new OperatingError('internal', `${client.url} answers with no token: is it a Quorate node?`)
}

/** The file comes first: a token that could not be kept would be made for nothing. */
async function intoFile(file: string, make: () => Promise<Made>): Promise<Made> {
  const handle = await openNew(file)
  try {
    const made = await make()
    await handle.writeFile(`${made.token}\n`)
    await handle.sync()
    return made
  } catch (error) {
    await rm(file, { force: true })
    throw error
  } finally {
    await handle.close()
  }
}

async function openNew(file: string): Promise<FileHandle> {
  try {
    return await open(file, 'wx', 0o600)
  } catch (cause) {
    const isThere = cause instanceof Error && 'code' in cause && cause.code === 'EEXIST'
    const why = isThere ? 'is there already; nothing is overwritten' : 'can not be made'
    throw new OperatingError('bad-request', `--out: ${file} ${why}`, isThere ? {} : { cause })
  }
}

function print(terminal: Terminal, { token, answer }: Made, { out, json }: CreateOptions): void {
  if (json === true) printJson(terminal, out === undefined ? answer : { ...answer, token: undefined, file: out })
  else if (out === undefined) terminal.stdout.write(`${token}\n`)
}

function sayNext(
  terminal: Terminal,
  { answer }: Made,
  { addresses, file }: { readonly addresses: readonly string[]; readonly file: string | null },
): void {
  const { usesMax } = answer
  const nodes = usesMax === 1 ? 'one new node' : `${fieldText(answer, 'usesMax')} new nodes`
  const kept = file === null ? 'it is not shown again: keep it in a file' : `it is in ${file}, a file`
  say(terminal, `token ${fieldText(answer, 'id')} lets ${nodes} in until ${timeText(answer['expiresAt'])}`)
  say(terminal, `${kept} that only its owner reads; with that file on the new machine, run there:`)
  const join = addresses.length > 0 ? shellWord(addresses.join(',')) : 'HOST:PORT'
  say(terminal, `  ${terminal.self} start --join ${join} --token-file ${shellWord(file ?? 'join.token')}`)
}

/** Peer addresses of nodes that are there: any of them lets a node in. */
async function joinAddresses(client: AdminClient): Promise<readonly string[]> {
  const members = listOf(await client.get('/v1/members'), 'members')
  return members
    .filter((member) => member['status'] === 'alive' && member['raft'] !== 'none')
    .map((member) => objectOf(member['addresses'])['peer'])
    .filter((address): address is string => typeof address === 'string' && address !== '')
    .slice(0, addressesMax)
}

/** More make the command no surer. */
const addressesMax = 3

function list(context: CommandContext, options: NodeOptions): Promise<ExitCode> {
  const { terminal } = context
  return withClient(context, options, async (client) => {
    const body = await client.get('/v1/tokens')
    if (options.json === true) return printJson(terminal, body)
    const tokens = listOf(body, 'tokens')
    printRows(terminal, tokens, columns)
    if (tokens.length === 0) say(terminal, `there are no join tokens; make one with: ${terminal.self} token create`)
  })
}

const columns: readonly Column<Row>[] = [
  { title: 'ID', text: (row) => fieldText(row, 'id') },
  { title: 'STATUS', text: (row) => fieldText(row, 'status') },
  { title: 'USES', text: (row) => `${fieldText(row, 'uses')}/${fieldText(row, 'usesMax')}` },
  { title: 'CREATED', text: (row) => timeText(row['createdAt']) },
  { title: 'EXPIRES', text: (row) => timeText(row['expiresAt']) },
  { title: 'USED BY', text: (row) => (Array.isArray(row['usedBy']) && row['usedBy'].map(String).join(' ')) || '-' },
  { title: 'NOTE', text: (row) => fieldText(row, 'note') },
]

function revoke(context: CommandContext, id: string, options: NodeOptions): Promise<ExitCode> {
  const { terminal } = context
  return withClient(context, options, async (client) => {
    const { body } = await client.send({ method: 'DELETE', path: `/v1/tokens/${encodeURIComponent(id)}` })
    if (options.json === true) return printJson(terminal, body)
    say(terminal, `token ${id} lets nobody in any more; whom it let in stays; see: ${terminal.self} token list`)
  })
}

const unitsMs: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

function durationOption(name: string, text: string): number {
  const [, digits = '', unit = ''] = /^(\d{1,9})([smhd])$/.exec(text) ?? []
  const ms = Number(digits) * (unitsMs[unit] ?? Number.NaN)
  if (ms >= joinTokenLifetimeMinMs && ms <= joinTokenLifetimeMaxMs) return ms
  const longest = `${joinTokenLifetimeMaxMs / 86_400_000}d`
  throw new OperatingError(
    'bad-request',
    `${name} is from 1s to ${longest}, a number with s, m, h or d behind, for example 30m, not ${JSON.stringify(text)}`,
  )
}
