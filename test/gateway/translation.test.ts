import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  answerToServer,
  messageToClient,
  paramsToServer,
  resultToClient,
  splitTaskId,
} from '../../src/gateway/translation.ts'
import type { ResultKind } from '../../src/gateway/translation.ts'
import { asJsonText, toJsonText } from '../../src/std/json-text.ts'
import type { ServerName } from '../../src/vocabulary/ids.ts'

const files = 'files' as ServerName
const related = (id: string): string => `"_meta":{"x":1.0,"io.modelcontextprotocol/related-task":{"taskId":"${id}"}}`

describe('ids of tasks on the way to the client', () => {
  it.each<[string, ResultKind, string, string]>([
    [
      'a task that was made',
      'task-made',
      '{"task":{"taskId":"1","ttl":1e3}}',
      '{"task":{"taskId":"files:1","ttl":1e3}}',
    ],
    ['a task', 'task', '{"taskId":"a:b", "status":"working"}', '{"taskId":"files:a:b", "status":"working"}'],
    [
      'a list',
      'task-list',
      '{"tasks":[{"taskId":"1"},{"x":2},{"taskId":3},7,{"taskId":""}],"nextCursor":"taskId"}',
      '{"tasks":[{"taskId":"files:1"},{"x":2},{"taskId":3},7,{"taskId":"files:"}],"nextCursor":"taskId"}',
    ],
    ['the result of a task', 'plain', `{"content":[],${related('1')}}`, `{"content":[],${related('files:1')}}`],
    [
      'a result that says so elsewhere',
      'plain',
      '{"taskId":"1","task":{"taskId":"2"}}',
      '{"taskId":"1","task":{"taskId":"2"}}',
    ],
    ['names with escapes', 'task', '{"\\u0074askId":"\\u0031"}', '{"\\u0074askId":"files:1"}'],
    ['no object', 'task-list', '"taskId"', '"taskId"'],
    ['a list that is none', 'task-list', '{"tasks":"taskId"}', '{"tasks":"taskId"}'],
  ])('%s', (_, kind, given, shown) => {
    expect(resultToClient(files, kind, asJsonText(given))).toBe(shown)
  })

  it.each([
    [
      'a status',
      '{"jsonrpc":"2.0","method":"notifications/tasks/status","params":{"taskId":"1","status":"failed"}}',
      '{"jsonrpc":"2.0","method":"notifications/tasks/status","params":{"taskId":"files:1","status":"failed"}}',
    ],
    [
      'a question that belongs to a task',
      `{"jsonrpc":"2.0","id":"q","method":"elicitation/create","params":{"message":"m",${related('1')}}}`,
      `{"jsonrpc":"2.0","id":"q","method":"elicitation/create","params":{"message":"m",${related('files:1')}}}`,
    ],
    [
      'a question about a task of the client’s own',
      '{"jsonrpc":"2.0","id":"q","method":"tasks/get","params":{"taskId":"1"}}',
      '{"jsonrpc":"2.0","id":"q","method":"tasks/get","params":{"taskId":"1"}}',
    ],
    [
      'data that looks alike',
      '{"jsonrpc":"2.0","method":"notifications/message","params":{"data":{"taskId":"1"},"taskId":"2"}}',
      '{"jsonrpc":"2.0","method":"notifications/message","params":{"data":{"taskId":"1"},"taskId":"2"}}',
    ],
  ])('%s', (_, given, shown) => {
    expect(messageToClient(files, asJsonText(given))).toBe(shown)
  })
})

describe('ids of tasks on the way to the server', () => {
  it.each([
    ['tasks/get', '{"taskId":"files:a:b","x":1}', '{"taskId":"a:b","x":1}'],
    ['tasks/result', '{"taskId":"sql:1"}', '{"taskId":"sql:1"}'],
    ['tools/call', `{"taskId":"files:1",${related('files:1')}}`, `{"taskId":"files:1",${related('1')}}`],
    ['tools/call', `{${related('other:1')}}`, `{${related('other:1')}}`],
  ])('in params of %s', (method, given, sent) => {
    expect(paramsToServer(files, asJsonText(given), { method })).toBe(sent)
  })

  it('in an answer, of a server’s task and not of the client’s', () => {
    const isServer = (name: string): boolean => name === 'files'
    const answer = (id: string): string => `{"action":"accept","task":{"taskId":"files:1"},${related(id)}}`
    expect(answerToServer(asJsonText(answer('files:1')), isServer)).toBe(answer('1'))
    expect(answerToServer(asJsonText(answer('mine:1')), isServer)).toBe(answer('mine:1'))
  })
})

describe('translation', () => {
  it('leaves every text as it is that names no task', () => {
    fc.assert(
      fc.property(fc.json(), (json) => {
        fc.pre(!json.includes('taskId'))
        for (const kind of ['plain', 'task', 'task-made', 'task-list'] as const)
          expect(resultToClient(files, kind, asJsonText(json))).toBe(json)
        expect(messageToClient(files, asJsonText(json))).toBe(json)
      }),
    )
  })

  it('is undone on the way back, whatever the server’s own id is', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (own) => {
        const shown = JSON.parse(resultToClient(files, 'task', toJsonText({ taskId: own }))) as { taskId: string }
        expect(splitTaskId(shown.taskId)).toEqual({ server: 'files', own })
        expect(JSON.parse(paramsToServer(files, toJsonText(shown), { method: 'tasks/get' }))).toEqual({ taskId: own })
      }),
    )
  })
})
