/**
 * What clients do and servers say, feature by feature, as scenarios that run the same way against a server itself and
 * through the cluster. Texts are raw JSON with odd spacing, order, numbers, escapes and members, all of them legal.
 */
import type { Question, ScriptedClient } from './scripted-client.ts'

export type Scenario = {
  readonly name: string
  readonly run: (open: Open) => Promise<void>
  /** It needs streams of single requests between client, cluster and server. */
  readonly overStreams?: true
  /** It asks the client or keeps state by session, which a shared upstream does not do. */
  readonly ownUpstream?: true
  /** What it does to the server's lists is seen by all of the server's clients. */
  readonly sharedLists?: true
  /** It needs a URL of the one server: methods and names that only that server knows. */
  readonly oneServer?: true
}

export type Open = (options?: { capabilities?: string; protocolVersion?: string }) => Promise<ScriptedClient>

type Step = Readonly<Record<string, unknown>>

/** `with`: further members of the params, as text. */
export function script(steps: readonly Step[], options: { label?: string; with?: string } = {}): string {
  const label = options.label === undefined ? '' : `"label":"${options.label}" ,`
  const rest = options.with === undefined ? '' : `,${options.with}`
  return `{ "name":"script","arguments":{${label}"steps":${JSON.stringify(steps)},"big":12345678901234567890,"one":1.0}${rest}}`
}

const token = (text: string): string => `"_meta":{"vendor/é":[1e2],"progressToken":${text},"traceparent":"00-0-0-01"}`
const heard = { heard: true }
const answer = (text: string): Step => ({ answer: text })
const progress = (at: string, rest = ''): Step => ({
  say: `{"method":"notifications/progress","params":{"x":null,"progress":${at},"progressToken":$TOKEN${rest}},"jsonrpc":"2.0"}`,
})
const log = (text: string): string =>
  `{"jsonrpc":"2.0","params":{"data":${text},"logger":"a.b","level":"error","_meta":{"é":1.0}},"method":"notifications/message"}`
const ask = (id: string, method: string, params?: string, rest: Step = {}): Step => ({
  ask: `{"jsonrpc":"2.0","method":"${method}","id":${id}${params === undefined ? '' : `,"params":${params}`}}`,
  ...rest,
})
/** Calls the script tool. */
async function call(
  client: ScriptedClient,
  id: string,
  steps: readonly Step[],
  more?: { label?: string; with?: string },
) {
  await client.request(id, 'tools/call', scriptOf(client, steps, more), more?.label ?? `call ${id}`)
}

function scriptOf(
  client: ScriptedClient,
  steps: readonly Step[],
  more: { label?: string; with?: string } = {},
): string {
  return script(steps, more).replace('"name":"script"', `"name":"${client.named('script')}"`)
}

const oddResults: readonly string[] = [
  '{}',
  '{"content":[]}',
  '{"isError":false,"content":[{"text":"","type":"text","extra":{"":[]}}],"_meta":{"a/b":-0}}',
  '{ "content" : [ { "type" : "hologram" , "frames" : [ 1.0 , 1e400 , -0.0 , 12345678901234567890 ] } ] }',
  '{"content":[{"type":"text","text":"\\ud800 lone \\u0000 \\u2028 \\/ \\ud83d\\ude00"}],"structuredContent":{"__proto__":{"x":1},"constructor":null,"a":1,"a":2}}',
  '{"structuredContent":[1.10,"x"],"content":"not an array","isError":"perhaps"}',
  '{"content":[{"type":"resource_link","uri":"odd:x","name":"n","size":1e3,"icons":[{"src":"x","sizes":["any"]}],"annotations":{"priority":0.10,"audience":["assistant"]}}]}',
  '{"content":[{"type":"image","data":"/+8=","mimeType":"image/x; a=\\"b\\""},{"type":"audio","data":"","mimeType":""},{"type":"resource","resource":{"uri":"x:y","blob":"AA=="}}],"nested":[[[[[[[[[[{}]]]]]]]]]]}',
]

const oddErrors: readonly string[] = [
  '{"code":-32602,"message":"MCP error -32602: twice said","data":{"x":1.0}}',
  '{"message":"","code":0}',
  '{"code":-32000,"message":"é\\n","data":null,"hint":[1e2]}',
  '{"code":12345,"message":"positive","data":"text"}',
  '{"code":-32042,"message":"This request requires more information.","data":{"elicitations":[{"mode":"url","elicitationId":"550e8400","url":"https://example.com/?a=b&c","message":"Authorize"}]}}',
]

const ids: readonly string[] = ['0', '-1', '"7"', '7', '""', '"é \\"\\\\ \\u0000"', '9007199254740991', '"{}"']

export const scenarios: readonly Scenario[] = [
  {
    name: 'results of every kind',
    async run(open) {
      const client = await open()
      for (const [at, text] of oddResults.entries()) await call(client, String(at), [answer(text)])
      const large = Buffer.alloc(1_500_000, 9).toString('base64')
      await call(client, '"large"', [answer(`{"content":[{"type":"image","data":"${large}","mimeType":"image/png"}]}`)])
    },
  },
  {
    name: 'errors with their codes, messages and data',
    async run(open) {
      const client = await open()
      for (const [at, text] of oddErrors.entries()) await call(client, String(at), [{ error: text }])
      await client.request('"read"', 'resources/read', '{"uri":"odd:nowhere"}')
    },
  },
  {
    name: 'an error for a tool that only the server knows to be missing',
    oneServer: true,
    async run(open) {
      const client = await open()
      await client.request('3', 'tools/call', '{"name":"not there","arguments":{}}')
      await client.request('4', 'prompts/get', '{"arguments":{"é":"1"},"name":"not listed","z":1.0}')
      await client.request('5', 'vendor/echo', '{"a":[1.0,{"b":"\\u00e9"}],"_meta":{"progressToken":0}}')
      await client.request('6', 'vendor/nothing')
    },
  },
  {
    name: 'ids of every kind, one after the other and all at once',
    async run(open) {
      const client = await open()
      for (const id of ids) await call(client, id, [progress('1'), answer('{"content":[]}')], { with: token(id) })
      await Promise.all(ids.map((id) => call(client, id, [{ wait: 30 }, heard], { with: token('"same"') })))
    },
  },
  {
    name: 'params as the client wrote them',
    async run(open) {
      const client = await open()
      await call(client, '1', [heard], {
        with: '"zzz":{"__proto__":1.0,"a":1,"a":2 },"_meta":{"x":1e2,"io.vendor/y":null}',
      })
      await call(client, '2', [heard], { with: `${token('"t"')} , "aaa" : [ ]` })
      await call(client, '3', [heard], { with: token('0') })
    },
  },
  {
    name: 'progress with tokens of every kind',
    async run(open) {
      const client = await open()
      for (const text of ['"t"', '0', '-5', '""', '"{\\"é\\"}"', '9007199254740991'])
        await call(
          client,
          '1',
          [
            progress('0.0'),
            progress('1e0', ',"total":1.50,"message":"half \\u00e9"'),
            progress('3', ',"_meta":{}'),
            heard,
          ],
          { with: token(text) },
        )
    },
  },
  {
    name: 'log messages during a call',
    async run(open) {
      const client = await open()
      await call(client, '1', [{ say: log('{"a":1.0}') }, { say: log('"text"') }, { say: log('null') }, heard])
    },
  },
  {
    name: 'log levels',
    ownUpstream: true,
    async run(open) {
      const client = await open()
      await client.request('1', 'logging/setLevel', '{"level":"warning","x":1}')
      await call(client, '2', [{ logs: true }, answer('{"content":[]}')])
      await client.request('3', 'logging/setLevel', '{"level":"debug"}')
      await call(client, '4', [{ logs: true }, answer('{"content":[]}')])
    },
  },
  {
    name: 'prompts, resources and completion',
    async run(open) {
      const client = await open()
      const plain = client.named('plain')
      await client.request('1', 'prompts/get', `{"arguments":{"a":"\\u00e9"},"name":"${plain}"}`)
      for (const uri of ['odd:text', 'odd:blob?a=1&b=%20#é'])
        await client.request('2', 'resources/read', `{ "uri" : ${JSON.stringify(uri)} , "x":1.0}`, uri)
      const argument = '"argument":{"name":"a","value":"p","x":1e0},"context":{"arguments":{"b":"c"}}'
      await client.request('3', 'completion/complete', `{"ref":{"type":"ref/prompt","name":"${plain}"},${argument}}`)
      const ref = '{"uri":"odd:{+path}{?q*}","type":"ref/resource"}'
      await client.request('4', 'completion/complete', `{${argument},"ref":${ref}}`)
    },
  },
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
      await client.saw('notifications/elicitation/complete')
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
      await client.saw('vendor/news')
    },
  },
  {
    name: 'notifications of the client',
    ownUpstream: true,
    async run(open) {
      const client = await open()
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
      await call(client, '2', [{ updated: 'odd:watched' }, { updated: 'odd:other' }, answer('{"content":[]}')])
      await client.saw('resources/updated')
      await client.request('3', 'resources/unsubscribe', uri)
      await call(client, '4', [{ updated: 'odd:watched' }, { tell: log('"last"') }, answer('{"content":[]}')])
      await client.saw('"last"')
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
      await client.saw('notifications/tasks/status')
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
  {
    name: 'clients with equal ids and equal tokens, at the same time',
    async run(open) {
      const clients = await Promise.all(Array.from({ length: 6 }, () => open()))
      await Promise.all(
        clients.map(async (client, at) => {
          const steps = [
            progress(`${at}.0`),
            { wait: 20 },
            progress(`${at}.5`, `,"message":"for ${at}"`),
            { wait: 10 },
            heard,
          ]
          await Promise.all(
            ['1', '"1"', '0'].map((id) =>
              call(client, id, steps, { with: `${token(`"t${id.length}"`)},"whose":${at}` }),
            ),
          )
        }),
      )
    },
  },
  {
    name: 'clients that are asked at the same time, by equal ids',
    ownUpstream: true,
    async run(open) {
      const clients = await Promise.all(Array.from({ length: 5 }, () => open()))
      await Promise.all(
        clients.map(async (client, at) => {
          client.answerer = () => `"result":{"action":"accept","content":{"i am":${at}.0}}`
          const params = `{"message":"who?","requestedSchema":{"type":"object"},"of":${at}}`
          const steps = [ask('1', 'elicitation/create', params), { say: log(`"${at}"`) }, heard]
          await call(client, '1', steps, { with: token('1') })
        }),
      )
    },
  },
  {
    name: 'a client that cancels while others with the same id go on',
    async run(open) {
      const clients = await Promise.all(Array.from({ length: 4 }, () => open()))
      const [leaver] = clients
      const label = leaver?.label('left') ?? ''
      await Promise.all(
        clients.map(async (client, at) => {
          if (client !== leaver)
            return call(client, '1', [progress('1'), { wait: 100 }, heard], { with: `${token('1')},"of":${at}` })
          const call1 = call(client, '1', [progress('1'), { until: 'cancelled' }, { silence: true }], {
            label,
            with: token('1'),
          })
          await client.saw('notifications/progress')
          await client.cancel('1')
          await call1
        }),
      )
      await call(clients[0] ?? (await open()), '"after"', [{ recall: label, count: 1 }, heard])
    },
  },
  {
    name: 'streams that a server ends early and goes on with',
    overStreams: true,
    async run(open) {
      const client = await open()
      const steps = [progress('1'), { pause: 30 }, { wait: 10 }, progress('2'), { wait: 60 }, progress('3'), heard]
      await call(client, '1', [{ stream: { ids: true } }, ...steps], { with: token('"t"') })
      await call(
        client,
        '2',
        [{ stream: { ids: true } }, progress('1'), { cut: true, goesOn: true }, progress('2'), heard],
        { with: token('"t"') },
      )
    },
  },
  ...['2025-06-18', '2025-03-26'].map((protocolVersion): Scenario => ({
    name: `a client of ${protocolVersion}`,
    async run(open) {
      const client = await open({ protocolVersion, capabilities: '{"roots":{}}' })
      await call(client, '1', [progress('1'), heard], { with: token('"t"') })
      await client.request('2', 'resources/read', '{"uri":"odd:text"}')
    },
  })),
  {
    name: 'a client that can not be asked',
    async run(open) {
      const client = await open({ capabilities: '{}' })
      await call(client, '1', [progress('1'), { say: log('1.0') }, heard], { with: token('"t"') })
    },
  },
]
