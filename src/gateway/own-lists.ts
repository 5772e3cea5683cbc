import type { Call, Caller, Calls, Outcome } from '../calls/call.ts'
import { cancellationOf } from '../calls/cancellation.ts'
import { isCatalogCursor } from '../routing/listing.ts'
import type { Clock } from '../std/clock.ts'
import { jsonMembers, sliceJson, toJsonText, withJsonMember } from '../std/json-text.ts'
import type { JsonText } from '../std/json-text.ts'
import { LightSignal } from '../std/signal.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import type { Params } from './json-rpc.ts'

/**
 * Lists of a session that has an upstream of the server to itself: what its client can do may make the server offer it more
 * than the catalog knows. Its upstream answers, or, where that can not be had at once, the catalog does, so that no server
 * delays a list. Each goes on with its own cursors only: the catalog's have a mark, and a server's pass as they are.
 */
export type OwnList = {
  readonly call: Call
  readonly caller: Caller
  /** The catalog's. Null: this is a later page, of which nobody knows but the server. */
  readonly instead: (() => JsonText) | null
  /** So long the beginning may take the server, with the opening of the upstream. */
  readonly withinMs: number
}

type Ports = { readonly calls: Calls; readonly clock: Pick<Clock, 'after'> }

export async function performList(ports: Ports, list: OwnList): Promise<Outcome> {
  const { call, caller, instead } = list
  const outcome = await (instead === null ? ports.calls.call(call, caller) : beginWithin(ports, list))
  if (outcome.kind === 'result') return { kind: 'result', result: pageToClient(outcome.result) }
  const hasNone = outcome.kind === 'not-sent' || outcome.kind === 'rejected' || outcome.kind === 'unknown'
  return hasNone && instead !== null ? { kind: 'result', result: instead() } : outcome
}

/** Params with the server's own cursor. */
export function paramsOfPage({ text, value }: Params): JsonText {
  const { cursor } = value
  if (typeof cursor !== 'string' || !cursor.startsWith(ownMark)) return text
  return withJsonMember(text, 'cursor', toJsonText(cursor.slice(ownMark.length)))
}

async function beginWithin({ calls, clock }: Ports, { call, caller, withinMs }: OwnList): Promise<Outcome> {
  const cancelled = new LightSignal()
  const cancel = (): void => cancelled.abort(cancellationOf(caller.cancelled))
  caller.cancelled.addEventListener('abort', cancel, { once: true })
  if (caller.cancelled.aborted) cancel()
  // The server's node keeps the time by itself, where it can be heard.
  let isLate = false
  const timer = clock.after(withinMs + onItsWayMs, () => {
    isLate = true
    cancelled.abort()
  })
  const outcome = await calls.call({ ...call, timeoutMs: withinMs }, { ...caller, cancelled })
  timer.cancel()
  caller.cancelled.removeEventListener('abort', cancel)
  // Else its client has cancelled it, here or on another node.
  return isLate && outcome.kind === 'cancelled' ? tooLate : outcome
}

function pageToClient(page: JsonText): JsonText {
  const range = jsonMembers(page).get('nextCursor')
  const cursor: unknown = range === undefined ? undefined : JSON.parse(sliceJson(page, range))
  if (typeof cursor !== 'string' || !(cursor.startsWith(ownMark) || isCatalogCursor(cursor))) return page
  return withJsonMember(page, 'nextCursor', toJsonText(ownMark + cursor))
}

/** Of a server's cursor that looks like one of ours: the server may be a cluster too. */
const ownMark = 'own~'
/** So much longer the answer may be on its way from the server's node. */
const onItsWayMs = 250
const tooLate: Outcome = {
  kind: 'unknown',
  error: new OperatingError('outcome-unknown', 'the list did not come in time'),
}
