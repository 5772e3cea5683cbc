import { asJsonText, editJson, jsonElements, jsonMembers, sliceJson, toJsonText } from '../std/json-text.ts'
import type { JsonEdit, JsonRange, JsonText } from '../std/json-text.ts'
import type { ServerName } from '../vocabulary/ids.ts'

/**
 * Ids of tasks where several servers stand on one URL: `{server}:{own}`, since two servers may use the same. They are
 * replaced wherever the protocol puts them, and every other byte stays. Tasks that a client owns keep its own ids.
 */
const relatedTask = 'io.modelcontextprotocol/related-task'

/** Undefined: no id of a task of a server. */
export function splitTaskId(id: string): { readonly server: string; readonly own: string } | undefined {
  const at = id.indexOf(':')
  return at <= 0 ? undefined : { server: id.slice(0, at), own: id.slice(at + 1) }
}

/** A server's notification or question. What it asks about tasks (`tasks/...`) is about the client's own. */
export function messageToClient(server: ServerName, message: JsonText): JsonText {
  if (!mayNameTask(message)) return message
  const method = stringAt(message, ['method'])?.value ?? ''
  if (method.startsWith('tasks/')) return message
  return withPrefix(server, message, [
    ...(method === 'notifications/tasks/status' ? [['params', 'taskId']] : []),
    ['params', '_meta', relatedTask, 'taskId'],
  ])
}

/** Where a result names tasks beside its `_meta`: nowhere, as the task that was made, as the task itself, in a list. */
export const resultKinds = ['plain', 'task-made', 'task', 'task-list'] as const
export type ResultKind = (typeof resultKinds)[number]

export function isResultKind(text: string): text is ResultKind {
  return resultKinds.some((kind) => kind === text)
}

export function resultToClient(server: ServerName, kind: ResultKind, result: JsonText): JsonText {
  if (!mayNameTask(result)) return result
  if (kind === 'task-list') return editJson(result, taskListEdits(server, result))
  return withPrefix(server, result, [...pathsOfTask[kind], ['_meta', relatedTask, 'taskId']])
}

const pathsOfTask = { plain: [], 'task-made': [['task', 'taskId']], task: [['taskId']] } as const

/** Params of a request to that server. */
export function paramsToServer(
  server: ServerName,
  params: JsonText,
  { method }: { readonly method: string },
): JsonText {
  if (!mayNameTask(params)) return params
  const paths = [['_meta', relatedTask, 'taskId'], ...(method.startsWith('tasks/') ? [['taskId']] : [])]
  return withoutPrefix(params, paths, (name) => name === server)
}

/** A client's answer to a question, which some server asked. */
export function answerToServer(result: JsonText, isServer: (name: string) => boolean): JsonText {
  return mayNameTask(result) ? withoutPrefix(result, [['_meta', relatedTask, 'taskId']], isServer) : result
}

/** Cheap, and never false where one is named: the name may also be written with escapes. */
function mayNameTask(text: string): boolean {
  return text.includes('taskId') || /\\u00[467]/.test(text)
}

function withPrefix(server: ServerName, text: JsonText, paths: readonly (readonly string[])[]): JsonText {
  const edits = paths.flatMap((path) => {
    const found = stringAt(text, path)
    return found === undefined ? [] : [prefixEdit(server, found)]
  })
  return edits.length === 0 ? text : editJson(text, edits)
}

function withoutPrefix(
  text: JsonText,
  paths: readonly (readonly string[])[],
  isServer: (name: string) => boolean,
): JsonText {
  const edits = paths.flatMap((path) => {
    const found = stringAt(text, path)
    const split = found === undefined ? undefined : splitTaskId(found.value)
    return found === undefined || split === undefined || !isServer(split.server)
      ? []
      : [{ ...found.range, text: toJsonText(split.own) }]
  })
  return edits.length === 0 ? text : editJson(text, edits)
}

function taskListEdits(server: ServerName, result: JsonText): JsonEdit[] {
  const list = rangeAt(result, ['tasks'])
  const elements = list === undefined ? [] : jsonElements(result, list.start)
  const meta = stringAt(result, ['_meta', relatedTask, 'taskId'])
  return [
    ...elements.flatMap((element) => {
      const id = stringAt(result, ['taskId'], element)
      return id === undefined ? [] : [prefixEdit(server, id)]
    }),
    ...(meta === undefined ? [] : [prefixEdit(server, meta)]),
  ]
}

function prefixEdit(server: ServerName, { range, value }: FoundString): JsonEdit {
  return { ...range, text: toJsonText(`${server}:${value}`) }
}

type FoundString = { readonly range: JsonRange; readonly value: string }

function stringAt(text: string, path: readonly string[], within?: JsonRange): FoundString | undefined {
  const range = rangeAt(text, path, within)
  if (range === undefined || text[range.start] !== '"') return undefined
  return { range, value: JSON.parse(asJsonText(sliceJson(text, range))) as string }
}

function rangeAt(
  text: string,
  path: readonly string[],
  within: JsonRange = { start: 0, end: text.length },
): JsonRange | undefined {
  let range: JsonRange | undefined = within
  for (const name of path) range = range === undefined ? undefined : jsonMembers(text, range.start).get(name)
  return range
}
