import { unreachable } from '../std/assert.ts'
import { HttpLink } from './http-link.ts'
import { HttpServer, type HttpServerOptions } from './http-server.ts'
import { InferredLink, type Inference } from './inferred-link.ts'
import type { LinkSource } from './link.ts'
import { SseLink } from './sse-link.ts'

/** Links to one server over HTTP: of the transport that its configuration names, or that is found out with the first. */
export function httpLinks(options: HttpServerOptions): LinkSource {
  const { transport } = options.link
  const inference: Inference = { isSse: false }
  let server: HttpServer | null = null
  return {
    open(events) {
      server ??= new HttpServer(options)
      switch (transport) {
        case 'streamable-http':
          return new HttpLink(options, server, events)
        case 'sse':
          return new SseLink(options, server, events)
        case 'inferred':
          return new InferredLink({ ...options, http: server, inference }, events)
        default:
          return unreachable(transport)
      }
    },
    async close() {
      await server?.close()
    },
  }
}
