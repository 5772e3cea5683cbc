import type { ClientWord } from '../calls/call.ts'
import { jsonMembers, sliceJson } from '../std/json-text.ts'
import type { QuestionId, ServerName } from '../vocabulary/ids.ts'
import { noParams, requestId } from './json-rpc.ts'
import type { Notification, Response } from './json-rpc.ts'
import type { LocalSession } from './local-session.ts'
import { answerToServer } from './translation.ts'

/**
 * What a client says that is no request, as the word that finds its one right party wherever that is. Undefined: it
 * concerns nobody, or has been done here.
 */
export function wordOf(
  session: LocalSession,
  message: Notification | Response,
  hasServer: (name: string) => boolean,
): ClientWord | undefined {
  if (message.kind === 'response') return wordOfAnswer(session, message, hasServer)
  const { method, params } = message
  switch (method) {
    // Each upstream is told by who makes it.
    case 'notifications/initialized':
      return undefined
    case 'notifications/cancelled': {
      const range = jsonMembers(params.text).get('requestId')
      const id = range === undefined ? undefined : requestId(params.value['requestId'], sliceJson(params.text, range))
      // A request that is under way here is under way nowhere else.
      if (id === undefined || session.cancel(id.key, params.text) > 0) return undefined
      return { kind: 'cancel', requestId: id.text, params: params.text }
    }
    case 'notifications/progress': {
      const token = params.value['progressToken']
      return typeof token === 'string'
        ? { kind: 'progress', question: token as QuestionId, params: params.text }
        : undefined
    }
    default:
      return {
        kind: 'notification',
        server: serverOf(session),
        method,
        params: params === noParams ? null : params.text,
      }
  }
}

function wordOfAnswer(
  session: LocalSession,
  { id, result, error }: Response,
  hasServer: (name: string) => boolean,
): ClientWord | undefined {
  // All questions that clients are asked have ids of ours, which are strings.
  if (typeof id !== 'string') return undefined
  const question = id as QuestionId
  if (error !== null) return { kind: 'refusal', question, error }
  if (result === null) return undefined
  const own = serverOf(session) === null ? answerToServer(result, hasServer) : result
  return { kind: 'answer', question, result: own }
}

function serverOf({ scope }: LocalSession): ServerName | null {
  return scope.server
}
