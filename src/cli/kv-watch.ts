/**
 * `quorate kv watch`: one line a change, for as long as it is wanted. After a lost connection it goes on by itself behind
 * the last change that it has printed, so that none is missed and none comes twice; where the node can not go back so far,
 * it ends and says from where one may begin.
 */
import { jsonMembers, sliceJson } from '../std/json-text.ts'
import { OperatingError, type ErrorCode } from '../vocabulary/operating-error.ts'
import { setTimeout as sleep } from 'node:timers/promises'
import { errorOf, objectOf } from './client.ts'
import { withClient, type CommandContext, type NodeOptions } from './command.ts'
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
  const { terminal } = context
  const place: Place = { next: options.from === undefined ? null : revisionOption(options.from) }
  return withClient(context, options, async (client) => {
    let pauseMs = pauseMinMs
    let connectedOnce = false
    for (;;) {
      try {
        for await (const event of client.events(pathOf(pattern, place), { silenceMs })) {
          connectedOnce = true
          pauseMs = pauseMinMs
          take(terminal, event, { place, json: options.json === true })
        }
      } catch (error) {
        // A first failure is most likely a wrong address or a wrong pattern.
        if (!connectedOnce || !mayPass(error)) throw error
        say(terminal, `${error.message}; going on in ${pauseMs} ms`)
      }
      await pause(pauseMs, terminal.interrupted)
      pauseMs = Math.min(pauseMaxMs, pauseMs * 2)
    }
  })
}

function revisionOption(text: string): number {
  const revision = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN
  if (Number.isSafeInteger(revision) && revision >= 1) return revision
  throw new OperatingError(
    'bad-request',
    `--from is a revision, a whole number of at least 1, not ${JSON.stringify(text)}`,
  )
}

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

/** What another try may find mended. */
const passing: readonly ErrorCode[] = ['timeout', 'stopped', 'no-leader', 'no-quorum', 'overloaded']

function mayPass(error: unknown): error is OperatingError {
  return error instanceof OperatingError && passing.includes(error.code)
}

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
