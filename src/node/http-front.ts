import type { RequestListener } from 'node:http'
import type { Draining } from './draining.ts'
import type { Traffic } from './traffic.ts'

/**
 * What each HTTP request of this node meets first: counted as work where a drain has to wait for it, then taken by the
 * gateway or else by the admin face.
 */
export type HttpFrontOptions = {
  readonly gateway: { serves(path: string): boolean; readonly handle: RequestListener }
  readonly admin: RequestListener
  readonly draining: Pick<Draining, 'phase'>
  readonly traffic: Pick<Traffic, 'beginUntilClosed'>
}

export function makeHttpFront({ gateway, admin, draining, traffic }: HttpFrontOptions): RequestListener {
  return (req, res) => {
    const path = pathOf(req.url)
    // A connection that stays would bring the next request here too.
    if (draining.phase !== 'serving') res.setHeader('Connection', 'close')
    if (isWork(req.method, path)) traffic.beginUntilClosed(res)
    if (gateway.serves(path)) gateway.handle(req, res)
    else admin(req, res)
  }
}

/** Requests that a drain lets end: all that may change something, but for what operators want of the cluster. */
function isWork(method: string | undefined, path: string): boolean {
  return method !== 'GET' && method !== 'HEAD' && /^\/(?:mcp|messages|v1\/kv|v1\/tools)(?:\/|$)/.test(path)
}

function pathOf(url: string | undefined): string {
  if (url === undefined) return '/'
  const query = url.indexOf('?')
  return query === -1 ? url : url.slice(0, query)
}
