/**
 * `quorate kv watch`: one line a change, for as long as it is wanted. After a lost connection it goes on by itself behind
 * the last change that it has printed, with the next node of the cluster, so that none is missed and none comes twice; where
 * no node can go back so far, it ends and says from where one may begin.
 */
import { jsonMembers, sliceJson } from '../std/json-text.ts'
import { OperatingError, type ErrorCode } from '../vocabulary/operating-error.ts'
import { setTimeout as sleep } from 'node:timers/promises'
import { AdminClient, errorOf, listOf, objectOf } from './client.ts'
import { revisionOption, withClient, type CommandContext, type NodeOptions } from './command.ts'
import type { ServerEvent } from './event-stream.ts'
import type { ExitCode } from './exit-codes.ts'
import { oneLine, say, type Terminal } from './terminal.ts'

export type WatchOptions = NodeOptions & { readonly from?: string }

/** Where the watch is; null: where the node begins. */
type Place = { next: number | null }

/** A node says something at least every 15 s. */
const silenceMs = 45_000
const pauseMinMs = 100
const pauseMaxMs = 3000

export function watchKeys(context: CommandContext, pattern: string, options: WatchOptions): Promise<ExitCode> {
  const place: Place = { next: options.from === undefined ? null : revisionOption('--from', options.from, 1) }
  return withClient(context, options, async (first) => {
    const nodes = new WatchedNodes(first, context.terminal.interrupted)
    try {
      await follow(context.terminal, nodes, { place, pattern, json: options.json === true })
    } finally {
      await nodes.close()
    }
  })
}

async function follow(
  terminal: Terminal,
  nodes: WatchedNodes,
  watch: { readonly place: Place; readonly pattern: string; readonly json: boolean },
): Promise<never> {
  let pauseMs = pauseMinMs
  let hasBegun = false
  /** Nodes in a row whose history begins behind the place. */
  let tooNew = 0
  for (;;) {
    try {
      for await (const event of nodes.current.events(pathOf(watch.pattern, watch.place), { silenceMs })) {
        if (event.event === 'open') nodes.learn()
        hasBegun = true
        pauseMs = pauseMinMs
        take(terminal, event, watch)
        tooNew = 0
      }
    } catch (error) {
      // A first failure is most likely a wrong address or a wrong pattern.
      if (!hasBegun || !(error instanceof OperatingError)) throw error
      tooNew = error.code === 'compacted' ? tooNew + 1 : 0
      if (tooNew === nodes.count || !passing.includes(error.code)) throw error
      say(terminal, `${error.message}; going on in ${pauseMs} ms`)
    }
    nodes.turn()
    await pause(pauseMs, terminal.interrupted)
    pauseMs = Math.min(pauseMaxMs, pauseMs * 2)
  }
}

/**
 * The nodes that can take the watch over: the one that was named, and the others of the cluster as it knows them. A node
 * that was away may have lost the history that the others still have.
 */
class WatchedNodes {
  readonly #clients: AdminClient[]
  readonly #interrupted: AbortSignal
  #at = 0

  constructor(first: AdminClient, interrupted: AbortSignal) {
    this.#clients = [first]
    this.#interrupted = interrupted
  }

  get current(): AdminClient {
    const client = this.#clients[this.#at]
    if (client === undefined) throw new OperatingError('internal', 'the watch has no node')
    return client
  }

  get count(): number {
    return this.#clients.length
  }

  turn(): void {
    this.#at = (this.#at + 1) % this.#clients.length
  }

  /** Asks the current node for the others; without an answer it stays with those that it has. */
  learn(): void {
    this.current.get('/v1/status').then(
      (status) => this.#add(status),
      () => undefined,
    )
  }

  /** All but the first, which is its giver's. */
  async close(): Promise<void> {
    await Promise.all(this.#clients.slice(1).map((client) => client.close()))
  }

  #add(status: unknown): void {
    const { node } = objectOf(status)
    for (const member of listOf(status, 'members').slice(0, nodesMax)) {
      const { http } = objectOf(member['addresses'])
      const url = `${new URL(this.current.url).protocol}//${String(http)}`
      const isNew = member['id'] !== node && this.#clients.every((client) => client.url !== url)
      if (isNew && typeof http === 'string' && http !== '') this.#clients.push(new AdminClient(url, this.#interrupted))
    }
  }
}

/** Of the nodes that a status names. */
const nodesMax = 16

function pathOf(pattern: string, { next }: Place): string {
  const query = new URLSearchParams({ watch: pattern })
  if (next !== null) query.set('from', String(next))
  return `/v1/kv?${query.toString()}`
}

function take(terminal: Terminal, { event, data }: ServerEvent, watch: { place: Place; json: boolean }): void {
  const { place, json } = watch
  const body = objectOf(JSON.parse(data))
  const { revision } = body
  switch (event) {
    case 'open':
    case 'progress':
      if (typeof revision === 'number') place.next = Math.max(place.next ?? 0, revision)
      return
    case 'put':
    case 'delete':
      if (typeof revision !== 'number') return
      print(terminal, { event, text: data }, json)
      place.next = revision + 1
      return
    case 'error':
      throw errorOf(body, 'the watch')
    default:
  }
}

type Change = { readonly event: 'put' | 'delete'; readonly text: string }

/** The text is the node's own, so that no number in a value is rounded; line breaks stand between its tokens only. */
function print({ stdout }: Terminal, { event, text }: Change, json: boolean): void {
  const line = text.replaceAll(/[\r\n]+/g, ' ')
  if (json) {
    stdout.write(`{"kind":"${event}",${line.slice(line.indexOf('{') + 1)}\n`)
    return
  }
  const key = String(objectOf(JSON.parse(line))['key'])
  const cells = [memberText(line, 'revision'), event, key, ...(event === 'put' ? [memberText(line, 'value')] : [])]
  stdout.write(`${cells.map(oneLine).join(stdout.isTTY === true ? '  ' : '\t')}\n`)
}

/** What another try, or another node, may find mended. */
const passing: readonly ErrorCode[] = ['compacted', 'timeout', 'stopped', 'no-leader', 'no-quorum', 'overloaded']

async function pause(ms: number, interrupted: AbortSignal): Promise<void> {
  try {
    await sleep(ms, undefined, { signal: interrupted })
  } catch {
    throw new OperatingError('cancelled', 'interrupted')
  }
}

function memberText(object: string, name: string): string {
  const range = jsonMembers(object).get(name)
  return range === undefined ? '-' : sliceJson(object, range)
}
