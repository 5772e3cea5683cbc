/**
 * Every bound of the gateway, with its default. They keep one client, however it behaves, from taking the node from the
 * others. Header time-outs are the HTTP server's own (`headersTimeout`), before a request comes here.
 */
export type GatewayLimits = {
  /** Standalone streams of Streamable HTTP on this node; above it one more is answered 503. */
  readonly streamsMax: number
  /** A session without request, call or open stream on any node for so long is ended. */
  readonly sessionIdleMs: number
  /** The same for sessions of HTTP+SSE, which are nothing without their stream: so soon they end when its node has died. */
  readonly sseSessionIdleMs: number
  /** Streams of HTTP+SSE on this node, whose sessions have begun or not; above it one more is answered 503. */
  readonly sseStreamsMax: number
  /** One POST's body. */
  readonly bodyBytesMax: number
  /** From a request's headers to the end of its body. */
  readonly bodyTimeoutMs: number
  /** All bodies that are being read or whose call is in work, together; above it a POST is answered 503. */
  readonly bodiesBytesMax: number
  /** Calls in work at once, of one session and of this node. */
  readonly sessionCallsMax: number
  readonly nodeCallsMax: number
  /** What may wait for a client that does not read its stream; beyond it the stream is closed as if the client had gone. */
  readonly streamBytesMax: number
  /** Silence on a stream after which a comment is sent: who hears nothing for twice as long may take the node for dead. */
  readonly keepAliveMs: number
  /** A call that has not ended by then is answered as a stream, so that nothing on the way takes it for dead. */
  readonly streamAfterMs: number
  /** So long a session's own upstream may take for a list, also to be opened; then the catalog answers. */
  readonly ownListMs: number
  /** How long stop waits for the last answers to leave. */
  readonly stopMs: number
}

export const defaultLimits: GatewayLimits = {
  streamsMax: 10_000,
  sessionIdleMs: 30 * 60_000,
  sseSessionIdleMs: 2 * 60_000,
  sseStreamsMax: 4096,
  bodyBytesMax: 4 * 1024 * 1024,
  bodyTimeoutMs: 30_000,
  bodiesBytesMax: 256 * 1024 * 1024,
  sessionCallsMax: 256,
  nodeCallsMax: 4096,
  streamBytesMax: 4 * 1024 * 1024,
  keepAliveMs: 5000,
  streamAfterMs: 5000,
  ownListMs: 1000,
  stopMs: 2000,
}
