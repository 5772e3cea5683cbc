import type { MailPosition } from '../calls/call.ts'
import { asJsonText } from '../std/json-text.ts'
import { isNodeId, isServerName } from '../vocabulary/ids.ts'
import type { CallId, NodeId, ServerName } from '../vocabulary/ids.ts'
import { requestId } from './json-rpc.ts'
import type { RequestId } from './json-rpc.ts'
import { isResultKind } from './translation.ts'
import type { ResultKind } from './translation.ts'

/**
 * Ids of the events on our streams. One says all that any node needs to go on with its stream, so no node keeps anything
 * for it. Visible ASCII, since a client gives it back in a header. What a client makes up itself harms nobody: what it names
 * is given to its own session only.
 *
 * Of a call: `c~{node}~{call}~{seq}~{server}~{kind of result}~{request id}`; the node is where the call is performed. Of a session's own stream:
 * `s~{tools}~{resources}~{prompts}~{node}:{epoch}:{seq}~...`: digests of the lists that the client was told of last, and
 * how much of each node's mail it has.
 */
export type CallEventId = {
  readonly node: NodeId
  readonly call: CallId
  /** 0: nothing heard yet; `end`: the answer. */
  readonly seq: number | 'end'
  readonly server: ServerName
  /** How the result's names are translated. */
  readonly result: ResultKind
  readonly request: RequestId
}

export type FeedEventId = {
  readonly told: ListDigests
  readonly positions: ReadonlyMap<NodeId, MailPosition>
}

/** Equal digests: the client would see the same list. Templates count as resources. */
export type ListDigests = { readonly tools: string; readonly resources: string; readonly prompts: string }

/** Longer ids of requests stand in no event id: such an answer can not be resumed. */
export const resumableRequestIdLengthMax = 512
/** Nodes that an id has positions of; of more, those heard of longest ago are forgotten. */
export const positionsMax = 64

export function printCallEventId({ node, call, seq, server, result, request }: CallEventId): string {
  return `c~${node}~${call}~${seq}~${server}~${result}~${Buffer.from(request.text).toString('base64url')}`
}

export function printFeedEventId({ told, positions }: FeedEventId): string {
  let text = `s~${told.tools}~${told.resources}~${told.prompts}`
  for (const [node, { epoch, seq }] of positions) text += `~${node}:${epoch}:${seq}`
  return text
}

/** Undefined: none of ours. */
export function readEventId(
  text: string,
): ({ readonly kind: 'call' } & CallEventId) | ({ readonly kind: 'feed' } & FeedEventId) | undefined {
  const call = callPattern.exec(text)
  if (call !== null) return readCallEventId(call)
  return feedPattern.test(text) ? readFeedEventId(text) : undefined
}

const callPattern =
  /^c~([A-Za-z0-9._-]{1,64})~([A-Za-z0-9._-]{1,128})~(\d{1,15}|end)~([\w-]{1,48})~([a-z-]{1,16})~([\w-]{1,800})$/
const feedPattern = /^s(?:~[\w-]{1,16}){3}(?:~[A-Za-z0-9._-]{1,64}:\d{1,15}:\d{1,15}){0,64}$/

function readCallEventId(matched: RegExpExecArray): ({ readonly kind: 'call' } & CallEventId) | undefined {
  const [, node = '', call = '', seq = '', server = '', result = '', id = ''] = matched
  const request = readRequestId(Buffer.from(id, 'base64url').toString())
  if (request === undefined || !isNodeId(node) || !isServerName(server) || !isResultKind(result)) return undefined
  return { kind: 'call', node, call: call as CallId, seq: seq === 'end' ? seq : Number(seq), server, result, request }
}

function readRequestId(text: string): RequestId | undefined {
  try {
    return requestId(JSON.parse(text), asJsonText(text))
  } catch {
    return undefined
  }
}

function readFeedEventId(text: string): { readonly kind: 'feed' } & FeedEventId {
  const [, tools = '', resources = '', prompts = '', ...rest] = text.split('~')
  const positions = new Map<NodeId, MailPosition>()
  for (const position of rest) {
    const [node = '', epoch, seq] = position.split(':')
    if (isNodeId(node)) positions.set(node, { epoch: Number(epoch), seq: Number(seq) })
  }
  return { kind: 'feed', told: { tools, resources, prompts }, positions }
}
