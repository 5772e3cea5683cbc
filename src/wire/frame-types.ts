/**
 * Every frame type there is, in one table: 1-15 handshake, 16-39 Raft, 40-47 snapshots, 48-63 forming, 64-79
 * calls, 80-83 clients' words, 84-87 messages handed over, 88-95 mail, 96-111 gossip. A number is never given a second meaning; new kinds take new numbers.
 */
export const frameTypes = {
  'dialer-hello': 1,
  'acceptor-hello': 2,
  'dialer-proof': 3,
  welcome: 4,
  refuse: 5,

  'pre-vote-request': 16,
  'pre-vote-response': 17,
  'vote-request': 18,
  'vote-response': 19,
  'append-request': 20,
  'append-accepted': 21,
  'append-rejected': 22,
  'heartbeat-request': 23,
  'heartbeat-response': 24,
  propose: 25,
  'propose-accepted': 26,
  'propose-refused': 27,
  'read-request': 28,
  'read-response': 29,
  'read-refused': 30,
  'snapshot-installed': 31,
  'timeout-now': 32,
  'recovery-request': 33,
  'recovery-response': 34,

  'snapshot-offer': 40,
  'snapshot-resume': 41,
  'snapshot-chunk': 42,
  'snapshot-end': 43,
  'snapshot-refuse': 44,

  'form-propose': 48,
  'form-promised': 49,
  'form-refused': 50,
  formed: 51,

  // 65 was what came before the outcome, in wire version 1.
  'call-start': 64,
  'call-end': 66,
  'call-cancel': 67,
  'call-event': 68,
  'call-leave': 69,
  'call-resume': 70,
  'call-behind': 71,

  'client-word': 80,

  hand: 84,
  handed: 85,

  'mail-open': 88,
  'mail-opened': 89,
  mail: 90,
  'mail-behind': 91,
  'mail-displaced': 92,
  'mail-close': 93,

  ping: 96,
  'ping-request': 97,
  ack: 98,
  nack: 99,
  news: 100,
  'exchange-request': 101,
  'exchange-response': 102,
  'digest-request': 103,
  'digest-response': 104,
  deltas: 105,
} as const

/** True for what clients say that is no request. */
export function isWordFrame(type: number): boolean {
  return type >= 80 && type < 84
}

/** True for clients' messages that another node is to take. */
export function isHandFrame(type: number): boolean {
  return type >= 84 && type < 88
}

/** True for servers' messages to clients outside of any call. */
export function isMailFrame(type: number): boolean {
  return type >= 88 && type < 96
}

/** True for the frames of consensus/forming, which share their lane with Raft's. */
export function isFormingFrame(type: number): boolean {
  return type >= 48 && type < 64
}

/** True for the frames of the `bulk` lane. */
export function isSnapshotFrame(type: number): boolean {
  return type >= 40 && type < 48
}
