/**
 * Every limit and wait of an upstream, in one place. The defaults are what nodes run with; tests pass shorter ones.
 */
export type UpstreamLimits = {
  /** One message from a server: a line on stdout, an HTTP body, an SSE event. Longer ends the connection. */
  readonly messageBytesMax: number
  /** Of an HTTP refusal, where it may be the server's own JSON-RPC error; of a longer one only the status counts. */
  readonly refusalBytesMax: number
  /** One line of stderr in the log; the rest of the line is dropped. */
  readonly stderrLineBytesMax: number
  /** Lines of stderr, and complaints about rubbish, that reach the log per second and server. */
  readonly logLinesPerSecond: number
  /** Messages that wait for a server to read its stdin; one message may always wait. Beyond: overloaded. */
  readonly stdinQueueBytesMax: number
  /**
   * Answers to a server's questions that wait until it takes them, over stdio beside all else that waits; one may always
   * wait. Beyond, the connection ends: the server would wait for what was dropped.
   */
  readonly answersWaitingBytesMax: number
  /** How often an answer is posted to an HTTP server that can not be reached, or breaks off; then the connection ends. */
  readonly answerTriesMax: number
  /**
   * Calls without an outcome per upstream; beyond: overloaded. Over HTTP also cancels under way: beyond, the stream of a
   * cancelled call is closed without one.
   */
  readonly callsInFlightMax: number
  /** Questions to clients that wait for an answer, per connection; beyond, the oldest is taken back. */
  readonly questionsOpenMax: number
  /** Tasks, and elicitations by URL, of which it is remembered whose they are, each; beyond, the oldest is forgotten. */
  readonly taskOwnersMax: number
  /** So long it is remembered whose an elicitation by URL is: a user takes a while. */
  readonly elicitationsKeptMs: number
  /** Resources subscribed to by sessions that share an upstream, each by each; beyond: overloaded. */
  readonly subscriptionsMax: number
  /** What is said to who has to wait until a session gives its own upstream up. */
  readonly isolatedRetryAfterMs: number
  /** Notifications and answers under way to one HTTP server at once. Beyond, notifications are dropped and answers wait. */
  readonly tellsInFlightMax: number
  /** All that a server offers, as JSON text. Beyond the offer is refused. */
  readonly offerBytesMax: number
  /** Items of one list, and pages: more are taken for a cursor that never ends. */
  readonly offerItemsMax: number
  readonly offerPagesMax: number
  /** initialize and each page of a list. */
  readonly handshakeTimeoutMs: number
  /** From a list_changed to asking for the list, so that a burst asks once. */
  readonly relistDelayMs: number
  readonly connectTimeoutMs: number
  /** A notification or DELETE over HTTP. */
  readonly tellTimeoutMs: number
  /** How long an answered POST may keep its stream open. */
  readonly lingerMs: number
  /** How long a cancel waits for the request's response head, so that it does not overtake the request. */
  readonly cancelDelayMs: number
  /**
   * From the end of a stream that can be resumed to its resumption; within the bounds, the server may name another time.
   * So many tries in a row without a stream are the end.
   */
  readonly resumeDelayMs: number
  readonly resumeDelayMinMs: number
  readonly resumeDelayMaxMs: number
  readonly resumeFailuresMax: number
  /** The shortest wait until a GET stream that ended is asked for again; the longest is that of a restart. */
  readonly listenDelayMinMs: number
  readonly restartDelayMinMs: number
  readonly restartDelayMaxMs: number
  /** Restarts of a child process within the window before it is given up. */
  readonly restartsMax: number
  readonly restartsWindowMs: number
  /** Ready for this long: back-off and restarts count from zero again. */
  readonly healthyAfterMs: number
  /** From the end of stdin to SIGTERM. */
  readonly exitGraceMs: number
  /** From SIGTERM to SIGKILL. */
  readonly termGraceMs: number
  /** From SIGKILL until we stop waiting for a process that the kernel does not let die. */
  readonly killWaitMs: number
  /** From a child's exit until output that others hold open is given up. */
  readonly drainMs: number
}

export const defaultLimits: UpstreamLimits = {
  messageBytesMax: 16 * 1024 * 1024,
  refusalBytesMax: 64 * 1024,
  stderrLineBytesMax: 8 * 1024,
  logLinesPerSecond: 50,
  stdinQueueBytesMax: 16 * 1024 * 1024,
  answersWaitingBytesMax: 16 * 1024 * 1024,
  answerTriesMax: 3,
  callsInFlightMax: 1024,
  questionsOpenMax: 256,
  taskOwnersMax: 4096,
  elicitationsKeptMs: 3_600_000,
  subscriptionsMax: 65_536,
  isolatedRetryAfterMs: 5000,
  tellsInFlightMax: 64,
  offerBytesMax: 1024 * 1024,
  offerItemsMax: 10_000,
  offerPagesMax: 1000,
  handshakeTimeoutMs: 60_000,
  relistDelayMs: 100,
  connectTimeoutMs: 10_000,
  tellTimeoutMs: 10_000,
  lingerMs: 1000,
  cancelDelayMs: 250,
  resumeDelayMs: 500,
  resumeDelayMinMs: 50,
  resumeDelayMaxMs: 30_000,
  resumeFailuresMax: 4,
  listenDelayMinMs: 1000,
  restartDelayMinMs: 500,
  restartDelayMaxMs: 30_000,
  restartsMax: 10,
  restartsWindowMs: 600_000,
  healthyAfterMs: 60_000,
  exitGraceMs: 2000,
  termGraceMs: 3000,
  killWaitMs: 5000,
  drainMs: 500,
}
