import { describe, expect, it } from 'vitest'
import type { ClientWord } from '../../src/calls/call.ts'
import { RoutedWords, WordsHere } from '../../src/calls/client-words.ts'
import { makeQuestionIds } from '../../src/calls/question-ids.ts'
import { asJsonText } from '../../src/std/json-text.ts'
import type { NodeId, QuestionId, SessionId } from '../../src/vocabulary/ids.ts'

const session = 's1' as SessionId
const questionOf = (node: string): QuestionId => makeQuestionIds(node as NodeId, 3)()

/** Who was told, when a client of n1 says something in a cluster of n1, n2 and n.3. */
function toldOf(word: ClientWord): string[] {
  const told: string[] = []
  const routed = new RoutedWords({
    self: 'n1' as NodeId,
    here: { say: () => told.push('here') },
    links: { nodes: () => ['n2', 'n.3'] as NodeId[], say: (node) => told.push(node) },
  })
  routed.say(session, word)
  return told
}

describe('what a client says', () => {
  it.each<[string, (question: QuestionId) => ClientWord]>([
    ['an answer', (question) => ({ kind: 'answer', question, result: asJsonText('{}') })],
    ['a refusal', (question) => ({ kind: 'refusal', question, error: asJsonText('{}') })],
    ['progress', (question) => ({ kind: 'progress', question, params: asJsonText('{}') })],
  ])('%s goes to the node of its question only', (_, word) => {
    expect(toldOf(word(questionOf('n1')))).toEqual(['here'])
    expect(toldOf(word(questionOf('n.3')))).toEqual(['n.3'])
    expect(toldOf(word('not ours' as QuestionId))).toEqual([])
  })

  it('a cancellation and a notification go to every node', () => {
    expect(toldOf({ kind: 'cancel', requestId: asJsonText('1'), params: asJsonText('{"requestId":1}') })).toEqual([
      'here',
      'n2',
      'n.3',
    ])
    const notification = { kind: 'notification', server: null, method: 'x', params: asJsonText('{}') } as const
    expect(toldOf(notification)).toEqual(['here', 'n2', 'n.3'])
  })

  it('to this node ends the calls that a cancellation means, and else is for the upstreams', () => {
    const told: string[] = []
    const here = new WordsHere({
      calls: ['kept', 'asked'].map((name) => ({
        cancelRequest: (_, id, params) => told.push(`${name} ${id} ${params}`),
      })),
      upstreams: { say: (_, word) => told.push(word.kind) },
    })
    here.say(session, { kind: 'cancel', requestId: asJsonText('"a"'), params: asJsonText('{}') })
    here.say(session, { kind: 'answer', question: questionOf('n1'), result: asJsonText('{}') })
    expect(told).toEqual(['kept "a" {}', 'asked "a" {}', 'answer'])
  })
})
