/** `quorate kv`: the replicated key-value entries. */
import type { Command } from 'commander'
import { jsonMembers, sliceJson } from '../std/json-text.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import { fieldText, listOf, objectOf, type AdminClient } from './client.ts'
import { argumentText, talksToNode, wholeNumberOption, withClient } from './command.ts'
import type { CommandContext, NodeOptions } from './command.ts'
import { printJson, printRows } from './printers.ts'
import { harmless, say } from './terminal.ts'

type ReadOptions = NodeOptions & { readonly stale?: boolean }
type WriteOptions = NodeOptions & { readonly ifRevision?: string }

export function addKv(program: Command, context: CommandContext): void {
  const kv = program.command('kv').description('read and write the replicated key-value entries')
  talksToNode(kv.command('get <key>').description('print the value of a key, as JSON'))
    .option('--stale', "read this node's own copy, which may be behind")
    .action((key: string, options: ReadOptions) => context.run(() => get(context, key, options)))
  talksToNode(kv.command('put <key> <value>').description('set a key; the value is JSON, or - to read it from stdin'))
    .option('--if-revision <n>', 'only if the key has this revision; 0: only if it does not exist')
    .action((key: string, value: string, options: WriteOptions) =>
      context.run(() => put(context, { key, value, options })),
    )
  talksToNode(kv.command('delete <key>').description('delete a key'))
    .option('--if-revision <n>', 'only if the key has this revision')
    .action((key: string, options: WriteOptions) => context.run(() => remove(context, key, options)))
  talksToNode(kv.command('list [prefix]').description('list keys, revisions and values'))
    .option('--stale', "read this node's own copy, which may be behind")
    .action((prefix: string | undefined, options: ReadOptions) =>
      context.run(() => list(context, prefix ?? '', options)),
    )
}

function get(context: CommandContext, key: string, options: ReadOptions): ReturnType<typeof withClient> {
  const { stdout } = context.terminal
  return withClient(context, options, async (client) => {
    const path = `${keyPath(key)}${options.stale === true ? '?consistency=stale' : ''}`
    const { text } = await client.send({ method: 'GET', path })
    const value = jsonMembers(text).get('value')
    if (options.json === true) stdout.write(`${text.trim()}\n`)
    else stdout.write(`${value === undefined ? 'null' : harmless(stdout, sliceJson(text, value))}\n`)
  })
}

async function put(
  context: CommandContext,
  { key, value, options }: { key: string; value: string; options: WriteOptions },
): ReturnType<typeof withClient> {
  const { terminal } = context
  const body = await argumentText(terminal, value)
  if (!isJson(body))
    throw new OperatingError(
      'bad-request',
      `the value is no JSON; a text stands in double quotes: ${terminal.self} kv put ${key} '${JSON.stringify(body.trim().slice(0, 40))}'`,
    )
  return withClient(context, options, async (client) => {
    const answer = await client.send({ method: 'PUT', path: keyPath(key), body, headers: ifMatch(options) })
    report(context, options, { answer: answer.body, text: `stored ${key}`, next: `kv get ${key}` })
  })
}

function remove(context: CommandContext, key: string, options: WriteOptions): ReturnType<typeof withClient> {
  return withClient(context, options, async (client) => {
    const answer = await client.send({ method: 'DELETE', path: keyPath(key), headers: ifMatch(options) })
    report(context, options, { answer: answer.body, text: `deleted ${key}`, next: 'kv list' })
  })
}

function list(context: CommandContext, prefix: string, options: ReadOptions): ReturnType<typeof withClient> {
  const { terminal } = context
  return withClient(context, options, async (client) => {
    const pages: string[] = []
    for (let after: string | null = null; ;) {
      const page = await listPage(client, { prefix, after, stale: options.stale === true })
      if (options.json === true) pages.push(page.entriesText)
      else printRows(terminal, page.entries, entryColumns)
      if (page.next === null) break
      after = page.next
    }
    if (options.json === true) terminal.stdout.write(`{"entries":[${pages.filter((text) => text !== '').join(',')}]}\n`)
  })
}

const entryColumns = [
  { title: 'KEY', text: (row: ReturnType<typeof objectOf>) => fieldText(row, 'key') },
  { title: 'REVISION', text: (row: ReturnType<typeof objectOf>) => fieldText(row, 'revision') },
  { title: 'VALUE', text: (row: ReturnType<typeof objectOf>) => JSON.stringify(row['value'] ?? null) },
]

/** `entriesText`: the entries as they came, without the brackets around them. */
async function listPage(
  client: AdminClient,
  { prefix, after, stale }: { prefix: string; after: string | null; stale: boolean },
): Promise<{ entries: ReturnType<typeof listOf>; entriesText: string; next: string | null }> {
  const query = new URLSearchParams({ prefix, limit: '1000' })
  if (after !== null) query.set('after', after)
  if (stale) query.set('consistency', 'stale')
  const { body, text } = await client.send({ method: 'GET', path: `/v1/kv?${query.toString()}` })
  const range = jsonMembers(text).get('entries')
  const next = objectOf(body)['next']
  return {
    entries: listOf(body, 'entries'),
    entriesText: range === undefined ? '' : sliceJson(text, range).slice(1, -1).trim(),
    next: typeof next === 'string' ? next : null,
  }
}

function report(
  { terminal }: CommandContext,
  options: NodeOptions,
  done: { answer: unknown; text: string; next: string },
): void {
  if (options.json === true) printJson(terminal, done.answer)
  else
    say(
      terminal,
      `${done.text} at revision ${fieldText(objectOf(done.answer), 'revision')}; next: ${terminal.self} ${done.next}`,
    )
}

function ifMatch(options: WriteOptions): Record<string, string> {
  if (options.ifRevision === undefined) return {}
  return { 'if-match': `"${wholeNumberOption('--if-revision', options.ifRevision, 0)}"` }
}

function keyPath(key: string): string {
  if (key === '') throw new OperatingError('bad-request', 'the key is empty')
  return `/v1/kv/${encodeURIComponent(key)}`
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}
