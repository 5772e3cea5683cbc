/** What clients ask for and servers answer, call by call. */
import { answer, ask, call, heard, log, progress, token } from './script.ts'
import type { Scenario } from './script.ts'

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

export const callScenarios: readonly Scenario[] = [
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
    },
  },
  {
    name: 'what only the server knows, or knows to be missing',
    oneServer: true,
    async run(open) {
      const client = await open()
      await client.request('3', 'tools/call', '{"name":"not there","arguments":{}}')
      await client.request('4', 'prompts/get', '{"arguments":{"é":"1"},"name":"not listed","z":1.0}')
      await client.request('5', 'vendor/echo', '{"a":[1.0,{"b":"\\u00e9"}],"_meta":{"progressToken":0}}')
      await client.request('6', 'vendor/nothing')
      await client.request('7', 'resources/read', '{"uri":"odd:nowhere"}')
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
        [{ stream: { ids: true } }, progress('1'), { wait: 50 }, { cut: true, goesOn: true }, progress('2'), heard],
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
