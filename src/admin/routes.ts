import type { HttpBindings } from '@hono/node-server'
import type { Context, Hono } from 'hono'
import { OperatingError } from '../vocabulary/operating-error.ts'

/**
 * How a path of the API is mounted: its methods, HEAD with GET, OPTIONS that names them, and 405 with Allow for the others.
 */
export type ApiBindings = { Bindings: HttpBindings }
export type Api = Hono<ApiBindings>
export type ApiContext = Context<ApiBindings>
export type Route = (c: ApiContext) => Response | Promise<Response>
type Method = 'GET' | 'PUT' | 'POST' | 'DELETE'

export function mountRoutes(api: Api, path: string, routes: Partial<Record<Method, Route>>): void {
  for (const [method, route] of Object.entries(routes)) api.on(method, path, route)
  const methods = Object.keys(routes)
  const allow = [...methods, ...(methods.includes('GET') ? ['HEAD'] : []), 'OPTIONS'].join(', ')
  api.all(path, (c) => {
    c.header('Allow', allow)
    if (c.req.method === 'OPTIONS') return c.body(null, 204)
    throw new OperatingError('method-not-allowed', `this path takes ${allow}`)
  })
}

export function answerJson(c: ApiContext, body: string, status: 200 | 503 = 200): Response {
  return c.body(body, status, { 'content-type': 'application/json' })
}
