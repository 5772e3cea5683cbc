/**
 * A raw MCP client that does what a scenario says and keeps a transcript: every message that arrives, by stream, with its
 * text untouched but for what a hop has to replace: ids and progress tokens of the server's questions, told by the order
 * in which they come.
 */
import { memberOf, membersOf } from '../fixtures/json-members.mjs'
import { waitFor } from '../wait.ts'
import type { Heard, Wire } from './wires.ts'

export type Line = { readonly stream: string; readonly text: string }

export type Question = {
  /** JSON text, as it came. */
  readonly id: string
  readonly method: string
  readonly params: string
  /** JSON text; undefined: the server wants no progress. */
  readonly progressToken: string | undefined
}

export type ClientOptions = {
  readonly connect: (heard: Heard) => Wire
  /** Stands in names of this run and is `RUN` in the transcript. */
  readonly run: string
  /** What the names of the one server are preceded by where many are one; '' elsewhere. */
  readonly prefix: string
  readonly capabilities?: string
  readonly protocolVersion?: string
}

/** The last members of the answer, such as `"result":{}`; null: none. */
export type Answerer = (question: Question) => string | null | Promise<string | null>

export const allCapabilities =
  '{"sampling":{"tools":{},"context":{}},"elicitation":{"form":{},"url":{}},"roots":{"listChanged":true},"tasks":{"list":{},"cancel":{},"requests":{"sampling":{"createMessage":{}},"elicitation":{"create":{}}}},"experimental":{"x":{"y":1.0}}}'

const answerMs = 15_000

export class ScriptedClient {
  readonly transcript: Line[] = []
  /** The text of initialize's result. */
  self = ''
  answerer: Answerer = () => '"error":{"code":-32601,"message":"nobody answers"}'
  readonly #wire: Wire
  readonly #options: ClientOptions
  /** By the JSON text of the id. */
  readonly #waiting = new Map<string, { readonly label: string; settle(): void }>()
  readonly #questions = new Map<string, string>()
  readonly #tokens = new Map<string, string>()
  /** The answers of the present requests, whole, for what is not compared as a transcript. */
  readonly #results = new Map<string, string>()

  private constructor(options: ClientOptions) {
    this.#options = options
    this.#wire = options.connect({
      message: (stream, text) => this.#message(stream, text),
      unanswered: (stream) => this.#unanswered(stream),
      refused: (status, text, label) => {
        this.transcript.push({ stream: 'refused', text: `${status} ${text}` })
        if (label !== undefined) this.#settleAll(label)
      },
      isWaiting: (label) => [...this.#waiting.values()].some((waiting) => waiting.label === label),
    })
  }

  static async open(options: ClientOptions): Promise<ScriptedClient> {
    const client = new ScriptedClient(options)
    const { capabilities = allCapabilities, protocolVersion = '2025-11-25' } = options
    const info = '{"name":"scripted-client","version":"1.0.0","title":"é","icons":[{"src":"data:,"}],"x":1}'
    const params = `{"protocolVersion":"${protocolVersion}","capabilities":${capabilities},"clientInfo":${info},"y":2}`
    client.self = await client.result('"init"', 'initialize', params)
    client.transcript.length = 0
    await client.notify('notifications/initialized')
    return client
  }

  label(name: string): string {
    return `${name}-${this.#options.run}`
  }

  /** The name of a tool or prompt, or a task's id, as this client has to say it. */
  named(name: string, kind: 'name' | 'task' = 'name'): string {
    const { prefix } = this.#options
    return prefix === '' ? name : `${prefix}${kind === 'name' ? '__' : ':'}${name}`
  }

  /** Settles when the answer has come, or can not come any more. */
  async request(id: string, method: string, params?: string, label = method): Promise<void> {
    const settled = new Promise<void>((resolve) => {
      this.#waiting.set(id, { label, settle: resolve })
    })
    const rest = params === undefined ? '' : `,"params":${params}`
    const text = `{"jsonrpc":"2.0","id":${id},"method":"${method}"${rest}}`
    await Promise.race([Promise.all([this.#wire.send(text, label), settled]), deadline(`the answer to ${label}`)])
  }

  /** Does not want the answer any more: whatever comes of it stands in the transcript. */
  async cancel(id: string, rest = ''): Promise<void> {
    this.#settle(id)
    await this.notify('notifications/cancelled', `{"requestId":${id}${rest}}`)
  }

  /** The text of a request's result, or of its error; not for the transcript. */
  async result(id: string, method: string, params?: string): Promise<string> {
    await this.request(id, method, params)
    const text = this.#results.get(id) ?? ''
    return memberOf(text, 'result') ?? memberOf(text, 'error') ?? ''
  }

  notify(method: string, params?: string): Promise<void> {
    return this.#wire.send(`{"jsonrpc":"2.0","method":"${method}"${params === undefined ? '' : `,"params":${params}`}}`)
  }

  listen(): Promise<void> {
    return this.#wire.listen()
  }

  /** Waits until so many lines of the transcript hold this text. */
  async saw(text: string, count = 1): Promise<void> {
    const seen = (): number => this.transcript.filter((line) => line.text.includes(text)).length
    await waitFor(
      () => `${count} x ${text}; there is:\n${this.transcript.map((line) => line.text.slice(0, 300)).join('\n')}`,
      () => seen() >= count,
      answerMs,
    )
  }

  async close(): Promise<void> {
    await this.#wire.close()
  }

  #message(stream: string, whole: string): void {
    const members = new Map(membersOf(whole))
    const id = members.get('id')
    const method = members.get('method')
    members.delete('jsonrpc')
    if (method === undefined && id !== undefined) this.#results.set(id, whole)
    if (method !== undefined && id !== undefined) this.#asked(id, members)
    else if (method === '"notifications/cancelled"') this.#replaceIn(members, 'params', 'requestId', this.#questions)
    const text = [...members.keys()]
      .sort()
      .map((name) => `${name}=${members.get(name) ?? ''}`)
      .join(' ')
    this.transcript.push({ stream: this.#neutral(stream), text: this.#neutral(text) })
    if (method === undefined && id !== undefined) this.#settle(id)
  }

  /** `members` are told as they came but for the question's id and token. */
  #asked(id: string, members: Map<string, string>): void {
    const params = members.get('params') ?? '{}'
    const progressToken = memberOf(memberOf(params, '_meta') ?? '{}', 'progressToken')
    const question = { id, method: JSON.parse(members.get('method') ?? '""') as string, params, progressToken }
    members.set('id', nameIn(this.#questions, id, '$question'))
    if (progressToken !== undefined) {
      const meta = new Map([['_meta', memberOf(params, '_meta') ?? '']])
      this.#replaceIn(meta, '_meta', 'progressToken', this.#tokens)
      members.set(
        'params',
        params.replace(memberOf(params, '_meta') ?? '', () => meta.get('_meta') ?? ''),
      )
    }
    void this.#answer(question)
  }

  async #answer(question: Question): Promise<void> {
    const answer = await this.answerer(question)
    if (answer !== null) await this.#wire.send(`{"jsonrpc":"2.0",${answer},"id":${question.id}}`)
  }

  #replaceIn(members: Map<string, string>, member: string, name: string, names: Map<string, string>): void {
    const text = members.get(member) ?? '{}'
    const value = memberOf(text, name)
    if (value === undefined) return
    const at = text.indexOf(value, text.indexOf(`"${name}"`) + name.length + 2)
    members.set(member, text.slice(0, at) + nameIn(names, value, '$named') + text.slice(at + value.length))
  }

  #neutral(text: string): string {
    const { run, prefix } = this.#options
    const ours = text.replaceAll(run, 'RUN')
    return prefix === '' ? ours : ours.replaceAll(`"${prefix}__`, '"').replaceAll(`"${prefix}:`, '"')
  }

  #unanswered(stream: string): void {
    this.transcript.push({ stream: this.#neutral(stream), text: 'ended without an answer' })
    this.#settleAll(stream)
  }

  #settleAll(stream: string): void {
    for (const [id, { label }] of this.#waiting) if (stream === 'wire' || label === stream) this.#settle(id)
  }

  #settle(id: string): void {
    this.#waiting.get(id)?.settle()
    this.#waiting.delete(id)
  }
}

function nameIn(names: Map<string, string>, value: string, kind: string): string {
  const name = names.get(value) ?? `${kind}-${names.size + 1}`
  names.set(value, name)
  return name
}

function deadline(what: string): Promise<never> {
  return new Promise((_resolve, reject) => {
    setTimeout(() => reject(new Error(`waited ${answerMs} ms for ${what}`)), answerMs).unref()
  })
}
