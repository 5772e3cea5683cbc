/** What a session is: questions to its client, words outside of calls, subscriptions, tasks, cancelled calls. */
import { answer, ask, call, heard, log, progress, token } from './script.ts'
import type { Scenario } from './script.ts'
import type { Question } from './scripted-client.ts'

export const sessionScenarios: readonly Scenario[] = [
  {
    name: 'questions in a call, and what the client answers',
    ownUpstream: true,
    async run(open) {
      const client = await open()
      const answers = [
        '"result":{"role":"assistant","content":{"type":"text","text":"\\u00e9"},"model":"m","x":1.0}',
        '"result":{"action":"accept","content":{"a":1.0,"b":[]},"_meta":{"é":1e2}}',
        '"result":{"roots":[{"uri":"file:///a%20b","name":"","_meta":{"x":-0.0}}],"y":null}',
        '"error":{"data":{"z":1.0},"code":-1,"message":"User rejected","more":1}',
        '"result":{}',
      ]
      client.answerer = () => answers.shift() ?? null
      await client.listen()
      const message =
        '{"role":"user","content":[{"type":"text","text":"é"},{"type":"tool_result","toolUseId":"1","content":[]}]}'
      await call(client, '"asks"', [
        ask('"s-1"', 'sampling/createMessage', `{"messages":[${message}],"maxTokens":1e2,"tools":[],"x":1.0}`),
        ask(
          '0',
          'elicitation/create',
          '{"mode":"form","message":"","requestedSchema":{"type":"object","properties":{}}}',
        ),
        ask('1', 'roots/list'),
        ask('"1"', 'sampling/createMessage', '{"messages":[],"maxTokens":1,"_meta":{"x":{"y":1.0}}}'),
        ask('""', 'elicitation/create', '{"mode":"url","elicitationId":"e-1","url":"https://x/?a=1&b","message":"go"}'),
        {
          tell: '{"jsonrpc":"2.0","method":"notifications/elicitation/complete","params":{"elicitationId":"e-1","x":1.0}}',
        },
        heard,
      ])
      await client.saw('method="notifications/elicitation/complete"')
    },
  },
  {
    name: 'questions that cross each other, answered in another order',
    ownUpstream: true,
    async run(open) {
      const client = await open()
      const first: { question?: Question; release?: () => void } = {}
      client.answerer = async (question) => {
        if (question.params.includes('first')) {
          await new Promise<void>((resolve) => (first.release = resolve))
          return '"result":{"of":"first"}'
        }
        setTimeout(() => first.release?.(), 20)
        return '"result":{"of":"second"}'
      }
      const params = (text: string): string => `{"messages":[],"maxTokens":1,"metadata":"${text}"}`
      await call(client, '1', [
        ask('5', 'sampling/createMessage', params('first'), { goesOn: true }),
        ask('"5"', 'sampling/createMessage', params('second'), { goesOn: true }),
        { hear: '5' },
        { hear: '"5"' },
        heard,
      ])
    },
  },
  {
    name: 'progress on a question, and a question that is taken back',
    ownUpstream: true,
    async run(open) {
      const client = await open()
      client.answerer = async (question) => {
        if (question.progressToken === undefined) return null
        const report = (at: string): Promise<void> =>
          client.notify(
            'notifications/progress',
            `{"progress":${at},"total":2.0,"progressToken":${question.progressToken ?? ''},"message":"é"}`,
          )
        await report('1.0')
        await report('2e0')
        return '"result":{"action":"decline"}'
      }
      const meta = '"_meta":{"z":1.0,"progressToken":"mine"}'
      await call(client, '1', [
        ask('"p"', 'elicitation/create', `{"message":"","requestedSchema":{"type":"object"},${meta}}`),
        { progress: 2 },
        ask('"taken back"', 'elicitation/create', '{"message":"","requestedSchema":{"type":"object"}}', {
          goesOn: true,
        }),
        {
          say: '{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"reason":"é","requestId":"taken back","x":1.0}}',
        },
        heard,
      ])
    },
  },
  {
    name: 'words outside of any call',
    ownUpstream: true,
    async run(open) {
      const client = await open()
      client.answerer = () => '"result":{"roots":[],"x":1.0}'
      await client.listen()
      await call(client, '1', [
        { tell: log('"outside"') },
        { tell: '{"method":"notifications/vendor/news","params":{"x":1.0},"jsonrpc":"2.0"}' },
        ask('"outside"', 'roots/list', '{"_meta":{"é":1.0}}', { outside: true }),
        heard,
      ])
      await client.saw('"outside"')
      await client.saw('method="notifications/vendor/news"')
    },
  },
  {
    name: 'notifications of the client',
    ownUpstream: true,
    async run(open) {
      const client = await open()
      // Before a session's first call to it a server of its own is not there to be told.
      await call(client, '0', [heard])
      await client.notify('notifications/roots/list_changed')
      await client.notify('notifications/vendor/x', '{"b":1.0,"a":"\\u00e9"}')
      await call(client, '1', [{ notes: 2 }, heard])
    },
  },
  {
    name: 'cancelled calls',
    async run(open) {
      const client = await open()
      for (const [at, id] of ['0', '"c"', '""'].entries()) {
        const label = client.label(`cancelled${at}`)
        const steps = [progress('1'), { until: 'cancelled' }, { silence: true }]
        const cancelled = call(client, id, steps, { label, with: token('"t"') })
        await client.saw('notifications/progress', at + 1)
        await client.cancel(id, ' , "reason" : "é\\u0000", "x":1.0')
        await cancelled
        await call(client, '"other"', [{ recall: label, count: 1 }, heard])
      }
    },
  },
  {
    name: 'subscriptions',
    async run(open) {
      const client = await open()
      const uri = '{"x":1.0,"uri":"odd:watched"}'
      await client.listen()
      await client.request('1', 'resources/subscribe', uri)
      await client.request('2', 'resources/subscribe', '{"uri":"odd:text"}')
      await call(client, '3', [{ updated: 'odd:watched' }, { updated: 'odd:other' }, answer('{"content":[]}')])
      await client.saw('odd:watched')
      await client.request('4', 'resources/unsubscribe', uri)
      await call(client, '5', [{ updated: 'odd:watched' }, { updated: 'odd:text' }, answer('{"content":[]}')])
      await client.saw('odd:text')
    },
  },
  {
    name: 'tasks, from their making to their result',
    ownUpstream: true,
    async run(open) {
      const client = await open()
      await client.listen()
      client.answerer = () => '"result":{"action":"accept","content":{}}'
      const task = (id: string): string => `{"taskId":"${client.named(id, 'task')}","x":1.0}`
      const question = '{"message":"","requestedSchema":{"type":"object"},$RELATED}'
      const steps = [
        { status: 'input_required' },
        ask('"of the task"', 'elicitation/create', question),
        { say: `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":1.0,$RELATED}}` },
        answer('{"content":[{"type":"text","text":"done"}],$RELATED}'),
      ]
      await call(client, '1', steps, { with: '"task":{"ttl":6e4,"x":1.0}' })
      await client.saw('method="notifications/tasks/status"')
      await client.request('2', 'tasks/get', task('task 1/é'))
      await client.request('3', 'tasks/result', task('task 1/é'))
      await call(client, '4', [{ silence: true }], { with: '"task":{}' })
      await client.request('5', 'tasks/cancel', task('task 2/é'))
      await client.request('6', 'tasks/get', task('task 2/é'))
      await client.request('7', 'tasks/get', task('no such task'))
    },
  },
  {
    name: 'tasks, listed',
    ownUpstream: true,
    oneServer: true,
    async run(open) {
      const client = await open()
      for (const id of ['1', '2', '3']) await call(client, id, [answer('{"content":[]}')], { with: '"task":{}' })
      await client.request('4', 'tasks/list')
      await client.request('5', 'tasks/list', '{"cursor":"p/\\"é\\" 2"}')
      await client.request('6', 'tasks/list', '{"cursor":"wrong"}')
    },
  },
  {
    name: 'a list of which this client is shown more than others, and its pages',
    ownUpstream: true,
    oneServer: true,
    async run(open) {
      const client = await open({ capabilities: '{"roots":{"conditional":true}}' })
      await client.listen()
      await client.request('1', 'tools/list')
      await client.request('2', 'tools/list', '{"cursor":"p/\\"é\\" 2","x":1.0}')
      await client.request('3', 'tools/list', '{"cursor":"nobody gave this"}')
      for (const count of [1, 2]) {
        await call(client, `"${count}"`, [{ growOwn: true }, answer('{}')])
        await client.saw('notifications/tools/list_changed', count)
      }
      await client.request('4', 'tools/list')
    },
  },
  {
    name: 'changes of lists, told once each',
    sharedLists: true,
    async run(open) {
      const client = await open()
      await client.listen()
      for (const [at, list] of ['tools', 'resources', 'prompts', 'tools'].entries()) {
        await call(client, String(at), [{ grow: list }, answer('{}')])
        await client.saw(`notifications/${list}/list_changed`, at === 3 ? 2 : 1)
      }
    },
  },
]
