/**
 * The words of scenarios: what a client asks the fixture `scripted` to do. Texts are raw JSON with odd spacing, order,
 * numbers, escapes and members, all of them legal.
 */
import type { ScriptedClient } from './scripted-client.ts'

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

export type Step = Readonly<Record<string, unknown>>

/** `with`: further members of the params, as text. */
export function script(steps: readonly Step[], options: { label?: string; with?: string } = {}): string {
  const label = options.label === undefined ? '' : `"label":"${options.label}" ,`
  const rest = options.with === undefined ? '' : `,${options.with}`
  return `{ "name":"script","arguments":{${label}"steps":${JSON.stringify(steps)},"big":12345678901234567890,"one":1.0}${rest}}`
}

export const token = (text: string): string =>
  `"_meta":{"vendor/é":[1e2],"progressToken":${text},"traceparent":"00-0-0-01"}`
export const heard = { heard: true }
export const answer = (text: string): Step => ({ answer: text })
export const progress = (at: string, rest = ''): Step => ({
  say: `{"method":"notifications/progress","params":{"x":null,"progress":${at},"progressToken":$TOKEN${rest}},"jsonrpc":"2.0"}`,
})
export const log = (text: string): string =>
  `{"jsonrpc":"2.0","params":{"data":${text},"logger":"a.b","level":"error","_meta":{"é":1.0}},"method":"notifications/message"}`
export const ask = (id: string, method: string, params?: string, rest: Step = {}): Step => ({
  ask: `{"jsonrpc":"2.0","method":"${method}","id":${id}${params === undefined ? '' : `,"params":${params}`}}`,
  ...rest,
})
/** Calls the script tool. */
export async function call(
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
