import { Hono } from 'hono'
import type { ContentfulStatusCode } from 'hono/utils/http-status'
import type { HttpBindings } from '@hono/node-server'
import type { Clock } from '../std/clock.ts'
import { asJsonText, jsonMembers, sliceJson } from '../std/json-text.ts'
import type { JsonText } from '../std/json-text.ts'
import { OperatingError } from '../vocabulary/operating-error.ts'
import type { OriginHeaders } from '../vocabulary/http-origin.ts'
import type { ErrorAnswer } from './error-answer.ts'
import { mountEvents } from './cluster-events.ts'
import { mountKv } from './kv-api.ts'
import { mountMembership } from './membership-api.ts'
import type { Metrics } from './metrics.ts'
import type { AdminNeeds, CatalogItem, ToolCall } from './needs.ts'
import { mountNodes } from './nodes-api.ts'
import { readJsonBody } from './request-body.ts'
import { queryOf, rawPath, refusePromises } from './request-input.ts'
import { answerJson, mountRoutes } from './routes.ts'
import type { Api, ApiBindings, Route } from './routes.ts'
import { mountSnapshot } from './snapshot-api.ts'
import { mountTokens } from './token-api.ts'

/** The operators' paths: what each answers, and from which need. */
export function makeApi({ needs, metrics, clock, health, refusal, answerFailure }: ApiOptions): Api {
  const api: Api = new Hono<ApiBindings>({ getPath: (_, options) => pathOf(options?.env) })
  api.use(async (c, next) => {
    c.header('Cache-Control', 'no-store')
    c.header('X-Content-Type-Options', 'nosniff')
    const refused = refusal(c.env.incoming.headers)
    if (refused !== null) throw refused
    if (!['GET', 'HEAD', 'OPTIONS'].includes(c.req.method)) refusePromises(c.env.incoming)
    await next()
  })
  mountHealth(api, { needs, metrics, health })
  mountViews(api, needs)
  mountTools(api, needs)
  mountSessions(api, needs)
  mountNodes(api, { nodes: needs.nodes, clock })
  mountMembership(api, { membership: needs.membership, clock })
  mountTokens(api, { tokens: needs.tokens, clock })
  mountSnapshot(api, {
    take: (limits) => needs.snapshot(limits),
    clock,
    failed: (error) => void answerFailure(error, { method: 'GET', path: '/v1/snapshot' }),
  })
  mountEvents(api, {
    open: () => needs.events(),
    node: () => needs.status().node,
    clock,
    eventsError: (error) => answerFailure(error, { method: 'GET', path: '/v1/events' }).body,
  })
  mountKv(api, {
    kv: needs.kv,
    clock,
    watchError: (error) => answerFailure(error, { method: 'GET', path: '/v1/kv' }).body,
  })
  api.notFound(() => {
    throw new OperatingError('not-found', 'there is no such path')
  })
  api.onError((error, c) => {
    const { method, url: path } = c.env.incoming
    const { status, headers, body } = answerFailure(error, { method, path })
    return c.body(body, status as ContentfulStatusCode, { ...headers })
  })
  return api
}

export type ApiOptions = {
  readonly needs: AdminNeeds
  readonly metrics: Metrics
  readonly clock: Clock
  readonly health: HealthAnswer
  readonly refusal: (headers: OriginHeaders) => OperatingError | null
  /** Logs what failed and makes its answer. */
  readonly answerFailure: (error: unknown, request: FailedRequest) => ErrorAnswer
}

export type FailedRequest = { readonly method?: string | undefined; readonly path?: string | undefined }

/** What `GET /healthz` is, for who already has a probe that asks for another. */
export type HealthAnswer = { readonly path: string; readonly status: number; readonly message: string }

function mountHealth(api: Api, { needs, metrics, health }: Pick<ApiOptions, 'needs' | 'metrics' | 'health'>): void {
  mountRoutes(api, health.path, {
    GET: (c) => c.text(health.message, health.status as ContentfulStatusCode),
  })
  mountRoutes(api, '/readyz', {
    GET: (c) => {
      const { ready, reasons } = needs.readiness()
      return answerJson(c, JSON.stringify({ ready, reasons }), ready ? 200 : 503)
    },
  })
  mountRoutes(api, '/metrics', {
    GET: async (c) => c.body(await metrics.text(needs.sample()), 200, { 'content-type': metrics.contentType }),
  })
}

function mountViews(api: Api, needs: AdminNeeds): void {
  const view = (path: string, look: () => string): void => mountRoutes(api, path, { GET: viewRoute(look) })
  view('/v1/status', () => JSON.stringify({ ...needs.status(), members: needs.members() }))
  view('/v1/raft', () => JSON.stringify(needs.raft()))
  view('/v1/members', () => JSON.stringify({ members: needs.members() }))
  view('/v1/servers', () => JSON.stringify({ servers: needs.servers() }))
  view('/v1/tools', () => `{"tools":${itemsText(needs.tools(), 'name')}}`)
  view('/v1/prompts', () => `{"prompts":${itemsText(needs.prompts(), 'name')}}`)
  view('/v1/resources', () => {
    const resources = itemsText(needs.resources(), 'uri')
    return `{"resources":${resources},"resourceTemplates":${itemsText(needs.resourceTemplates(), 'uriTemplate')}}`
  })
  mountRoutes(api, '/v1/servers/:name', {
    GET: (c) => {
      queryOf(c.env.incoming, [])
      const name = c.req.param('name') ?? ''
      const server = needs.servers().find((it) => it.name === name)
      if (server === undefined) throw new OperatingError('not-found', `there is no server ${quoted(name)}`)
      return answerJson(c, JSON.stringify(server))
    },
  })
}

function viewRoute(look: () => string): Route {
  return (c) => {
    queryOf(c.env.incoming, [])
    return answerJson(c, look())
  }
}

function itemsText(items: readonly CatalogItem[], nameMember: string): string {
  const texts = items.map(
    ({ server, name, definition }) =>
      `{"${nameMember}":${JSON.stringify(name)},"server":${JSON.stringify(server)},"definition":${definition}}`,
  )
  return `[${texts.join(',')}]`
}

function mountTools(api: Api, needs: AdminNeeds): void {
  mountRoutes(api, '/v1/tools/:name/call', {
    POST: async (c) => {
      queryOf(c.env.incoming, [])
      const { signal } = c.req.raw
      const { text, value } = await readJsonBody(c.env.incoming, { bytesMax: callBytesMax, signal })
      const answer = await needs.callTool({ name: c.req.param('name') ?? '', ...callOf(text, value), signal })
      if (answer.kind === 'result') return answerJson(c, `{"result":${answer.result}}`)
      throw serverError(answer.error)
    },
  })
}

/** A definite answer, so the caller is told all of it: the server made it for its client. */
function serverError(text: JsonText): OperatingError {
  const error = JSON.parse(text) as unknown
  const { code, message } = isObject(error) ? error : {}
  const summary = `the server answered with the error ${JSON.stringify(code)}: ${quoted(String(message))}`
  return new OperatingError('server-failed', summary, { details: { error } })
}

/** A call's body. */
const callBytesMax = 4 * 1024 * 1024
const callTimeoutMaxMs = 3_600_000

function callOf(text: JsonText, value: unknown): Pick<ToolCall, 'arguments' | 'timeoutMs'> {
  if (!isObject(value)) throw new OperatingError('bad-request', 'the body is not a JSON object')
  const { arguments: given, timeoutMs = null, ...others } = value
  for (const name of Object.keys(others)) {
    const why = name === 'idempotencyKey' ? 'is not supported yet: a repeated call may be done twice' : 'is not known'
    throw new OperatingError('bad-request', `the member ${quoted(name)} of the body ${why}`)
  }
  if (given !== undefined && !isObject(given)) throw new OperatingError('bad-request', 'arguments is not a JSON object')
  if (timeoutMs !== null && !isTimeout(timeoutMs)) {
    throw new OperatingError('bad-request', `timeoutMs is not a whole number from 1 to ${callTimeoutMaxMs}`)
  }
  const range = jsonMembers(text).get('arguments')
  return { arguments: range === undefined ? asJsonText('{}') : sliceJson(text, range), timeoutMs }
}

function isTimeout(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= callTimeoutMaxMs
}

function mountSessions(api: Api, needs: AdminNeeds): void {
  mountRoutes(api, '/v1/sessions', { GET: viewRoute(() => JSON.stringify({ sessions: needs.sessions() })) })
  mountRoutes(api, '/v1/sessions/:id', {
    DELETE: async (c) => {
      queryOf(c.env.incoming, [])
      const id = c.req.param('id') ?? ''
      if (!(await needs.closeSession(id))) throw new OperatingError('not-found', 'there is no such session')
      return answerJson(c, JSON.stringify({ id }))
    },
  })
}

function pathOf(env: HttpBindings | undefined): string {
  return env === undefined ? '/' : rawPath(env.incoming)
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function quoted(text: string): string {
  return JSON.stringify(text.length > 100 ? `${text.slice(0, 100)}...` : text)
}
