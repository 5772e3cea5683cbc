/** `quorate kv`: the replicated key-value entries. */
import type { Command } from 'commander'
import { jsonElements, jsonMembers, sliceJson, type JsonText } from '../std/json-text.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import { fieldText, objectOf, type AdminClient } from './client.ts'
import { argumentText, revisionOption, talksToNode, withClient } from './command.ts'
import type { CommandContext, NodeOptions } from './command.ts'
import { watchKeys, type WatchOptions } from './kv-watch.ts'
import { printJson, printRows, type Column } from './printers.ts'
import { harmless, say } from './terminal.ts'

type ReadOptions = NodeOptions & { readonly stale?: boolean }
type WriteOptions = NodeOptions & { readonly ifRevision?: string; readonly idempotencyKey?: string }

export function addKv(program: Command, context: CommandContext): void {
  const kv = program.command('kv').description('read and write the replicated key-value entries')
  talksToNode(kv.command('get <key>').description('print the value of a key, as JSON'))
    .option('--stale', "read this node's own copy, which may be behind")
    .action((key: string, options: ReadOptions) => context.run(() => get(context, key, options)))
  talksToNode(kv.command('put <key> <value>').description('set a key; the value is JSON, or - to read it from stdin'))
    .option('--if-revision <n>', 'only if the key has this revision; 0: only if it does not exist')
    .option('--idempotency-key <key>', idempotencyHelp)
    .action((key: string, value: string, options: WriteOptions) =>
      context.run(() => put(context, { key, value, options })),
    )
  talksToNode(kv.command('delete <key>').description('delete a key'))
    .option('--if-revision <n>', 'only if the key has this revision')
    .option('--idempotency-key <key>', idempotencyHelp)
    .action((key: string, options: WriteOptions) => context.run(() => remove(context, key, options)))
  talksToNode(kv.command('list [prefix]').description('list keys, revisions and values'))
    .option('--stale', "read this node's own copy, which may be behind")
    .action((prefix: string | undefined, options: ReadOptions) =>
      context.run(() => list(context, prefix ?? '', options)),
    )
  talksToNode(
    kv.command('watch <pattern>').description('print every change of the keys that match; * is any run of characters'),
  )
    .option('--from <revision>', 'begin with the changes of this revision; from now on when left out')
    .action((pattern: string, options: WatchOptions) => context.run(() => watchKeys(context, pattern, options)))
}

const idempotencyHelp = 'the same for every try of one write, which is then applied once; 1 to 255 visible characters'

function get(context: CommandContext, key: string, options: ReadOptions): ReturnType<typeof withClient> {
  const { stdout } = context.terminal
  return withClient(context, options, async (client) => {
    const path = `${keyPath(key)}${options.stale === true ? '?consistency=stale' : ''}`
    const { text } = await client.send({ method: 'GET', path })
    stdout.write(`${options.json === true ? text.trim() : harmless(stdout, memberText(text, 'value'))}\n`)
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
    const answer = await client.send({ method: 'PUT', path: keyPath(key), body, headers: conditions(options) })
    report(context, options, { answer: answer.body, text: `stored ${key}`, next: `kv get ${key}` })
  })
}

function remove(context: CommandContext, key: string, options: WriteOptions): ReturnType<typeof withClient> {
  return withClient(context, options, async (client) => {
    const answer = await client.send({ method: 'DELETE', path: keyPath(key), headers: conditions(options) })
    report(context, options, { answer: answer.body, text: `deleted ${key}`, next: 'kv list' })
  })
}

function list(context: CommandContext, prefix: string, options: ReadOptions): ReturnType<typeof withClient> {
  const { terminal } = context
  return withClient(context, options, async (client) => {
    const texts: string[] = []
    let isEmpty = true
    for (let after: string | null = null; ;) {
      const page = await listPage(client, { prefix, after, stale: options.stale === true })
      isEmpty &&= page.entries.length === 0
      if (options.json === true) texts.push(...page.entries)
      else printRows(terminal, page.entries, entryColumns)
      if (page.next === null) break
      after = page.next
    }
    if (options.json === true) terminal.stdout.write(`{"entries":[${texts.join(',')}]}\n`)
    else if (isEmpty) say(terminal, `no such keys; set one with: ${terminal.self} kv put KEY JSON`)
  })
}

/** An entry is its JSON text, so that no number in its value is rounded. */
const entryColumns: readonly Column<JsonText>[] = [
  { title: 'KEY', text: (entry) => fieldText(objectOf(JSON.parse(entry)), 'key') },
  { title: 'REVISION', text: (entry) => memberText(entry, 'revision') },
  { title: 'VALUE', text: (entry) => memberText(entry, 'value') },
]

async function listPage(
  client: AdminClient,
  { prefix, after, stale }: { prefix: string; after: string | null; stale: boolean },
): Promise<{ entries: readonly JsonText[]; next: string | null }> {
  const query = new URLSearchParams({ prefix, limit: '1000' })
  if (after !== null) query.set('after', after)
  if (stale) query.set('consistency', 'stale')
  const { body, text } = await client.send({ method: 'GET', path: `/v1/kv?${query.toString()}` })
  const next = objectOf(body)['next']
  return {
    entries: jsonElements(text, jsonMembers(text).get('entries')?.start).map((range) => sliceJson(text, range)),
    next: typeof next === 'string' ? next : null,
  }
}

function memberText(object: string, name: string): string {
  const range = jsonMembers(object).get(name)
  return range === undefined ? '-' : sliceJson(object, range)
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

function conditions({ ifRevision, idempotencyKey }: WriteOptions): Record<string, string> {
  if (idempotencyKey !== undefined && !/^[\x21-\x7e]{1,255}$/.test(idempotencyKey))
    throw new OperatingError('bad-request', '--idempotency-key has 1 to 255 visible ASCII characters')
  return {
    ...(ifRevision === undefined ? {} : { 'if-match': `"${revisionOption('--if-revision', ifRevision, 0)}"` }),
    ...(idempotencyKey === undefined ? {} : { 'idempotency-key': idempotencyKey }),
  }
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
