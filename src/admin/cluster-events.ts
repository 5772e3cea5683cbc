import type { ServerResponse } from 'node:http'
import type { Clock, Timer } from '../std/clock.ts'
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import type { ClusterEventsView } from './needs.ts'
import { writeAtPace } from './outgoing.ts'
import { queryOf } from './request-input.ts'
import { mountRoutes } from './routes.ts'
import type { Api } from './routes.ts'
import { eventOf, keepAliveMs, writeEventsHead } from './server-events.ts'

/**
 * `GET /v1/events`: what happens to members, leadership and configuration from now on, as this node sees it, as Server-Sent
 * Events behind an `open {node}`. Nothing is kept for who comes back: they read `/v1/members` behind the `open`. A client
 * that does not read is cut off; what ends the stream is told as `error`.
 */
export function mountEvents(api: Api, { open, node, clock, eventsError }: EventsApiOptions): void {
  mountRoutes(api, '/v1/events', {
    GET: (c) => {
      queryOf(c.env.incoming, [])
      const { incoming, outgoing } = c.env
      const isBodyless = incoming.method === 'HEAD'
      const events = open()
      outgoing.once('close', () => events.close())
      void streamEvents(events, { node: node(), outgoing, clock, isBodyless, eventsError })
      return RESPONSE_ALREADY_SENT
    },
  })
}

export type EventsApiOptions = {
  readonly open: () => ClusterEventsView
  readonly node: () => string
  readonly clock: Clock
  /** The one error shape, as JSON text. */
  readonly eventsError: (error: unknown) => string
}

type StreamOptions = Pick<EventsApiOptions, 'clock' | 'eventsError'> & {
  readonly node: string
  readonly outgoing: ServerResponse
  readonly isBodyless: boolean
}

async function streamEvents(events: ClusterEventsView, options: StreamOptions): Promise<void> {
  const { outgoing, clock, isBodyless, node, eventsError } = options
  const beat: { timer: Timer | null } = { timer: null }
  const keepAlive = (): void => {
    beat.timer = clock.after(keepAliveMs, () => {
      // A client that has not taken the last one yet is not helped by another.
      if (outgoing.writableNeedDrain) outgoing.destroy()
      else outgoing.write(': keep-alive\n\n')
      if (!outgoing.destroyed) keepAlive()
    })
  }
  try {
    writeEventsHead(outgoing)
    if (isBodyless) return
    outgoing.write(eventOf('open', { data: JSON.stringify({ node }) }))
    keepAlive()
    while (!outgoing.destroyed) {
      const taken = await events.take()
      if (taken.length === 0) break
      const texts = taken.map(({ kind, ...event }) => eventOf(kind, { data: JSON.stringify(event) }))
      await writeAtPace(outgoing, texts.join(''), clock)
    }
  } catch (error) {
    outgoing.write(eventOf('error', { data: eventsError(error) }))
  } finally {
    beat.timer?.cancel()
    events.close()
    outgoing.end()
  }
}
