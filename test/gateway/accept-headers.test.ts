import type { IncomingMessage } from 'node:http'
import { describe, expect, it } from 'vitest'
import { accepts, refusalOfHeaders } from '../../src/gateway/http-rules.ts'

const posted = (headers: Record<string, string>): IncomingMessage =>
  ({ headers: { 'content-type': 'application/json', accept: both, ...headers } }) as IncomingMessage
const both = 'application/json, text/event-stream'

describe('the headers of a POST', () => {
  it.each([
    both,
    'text/event-stream,application/json',
    'Application/JSON;q=0.9 , text/html, TEXT/event-stream ; q=1',
    ' application/json ,text/event-stream;charset=utf-8, */*',
  ])('may accept %j', (accept) => {
    expect(refusalOfHeaders(posted({ accept }))).toBeUndefined()
  })

  it.each([
    '',
    '*/*',
    'application/json',
    'text/event-stream',
    'application/jsonl, text/event-stream',
    'x-application/json, text/event-stream',
    'text/html;application/json, text/event-stream',
    'application/json text/event-stream',
  ])('may not accept only %j', (accept) => {
    expect(refusalOfHeaders(posted({ accept }))?.status).toBe(406)
  })

  it.each(['application/json', ' Application/Json ; charset=utf-8', 'application/json;'])(
    'may say that its body is %j',
    (type) => {
      expect(refusalOfHeaders(posted({ 'content-type': type }))).toBeUndefined()
    },
  )

  it.each(['', 'text/plain', 'application/json-seq', 'text/plain; application/json', 'application/json, text/plain'])(
    'may not say that its body is %j',
    (type) => {
      expect(refusalOfHeaders(posted({ 'content-type': type }))?.status).toBe(415)
    },
  )
})

it('a request without Accept accepts nothing by name', () => {
  expect(accepts({ headers: {} } as IncomingMessage, 'text/event-stream')).toBe(false)
})
