import { unreachable } from '../std/assert.ts'
import type { Core } from './core.ts'
import { onPreVoteRequest, onTimeoutNow, onVoteRequest, onVoteResponse } from './election.ts'
import { onAppendRequest, onHeartbeatRequest } from './follower.ts'
import type { Message } from './messages.ts'
import { onPropose, onProposeRefused } from './proposals.ts'
import { confirmReads, onReadRefused, onReadRequest, onReadResponse } from './reads.ts'
import { onRecoveryRequest, onRecoveryResponse } from './recovery.ts'
import { acknowledged, onAppendAccepted, onAppendRejected, onHeartbeatResponse } from './replication.ts'
import { isWellFormed } from './well-formed.ts'

/**
 * What becomes of a message: whom this node hears at all, what the sender's term does to its own, and which part the message
 * is for. What is wrong with it is never a reason to throw.
 */

/** Brings the node to the message's term where that is due (paper 5.1), then lets its part have it. */
export function receive(core: Core, message: Message): void {
  if (message.to !== core.id || !isWellFormed(message) || !isHeard(core, message)) return
  if (message.term < core.term) {
    receiveFromThePast(core, message)
    return
  }
  if (message.term > core.term && raisesTerm(message)) {
    if (message.kind === 'vote-request' && core.isSticky && !message.transfer) return
    core.becomeFollower(message.term, null)
  }
  switch (message.kind) {
    case 'pre-vote-request':
      onPreVoteRequest(core, message)
      return
    case 'vote-request':
      onVoteRequest(core, message)
      return
    case 'pre-vote-response':
    case 'vote-response':
      onVoteResponse(core, message)
      return
    case 'append-request':
      onAppendRequest(core, message)
      return
    case 'append-accepted':
      onAppendAccepted(core, message)
      return
    case 'append-rejected':
      onAppendRejected(core, message)
      return
    case 'snapshot-installed':
      acknowledged(core, message.from, message.index)
      return
    case 'heartbeat-request':
      onHeartbeatRequest(core, message)
      return
    case 'heartbeat-response':
      onHeartbeatResponse(core, message)
      if (core.role === 'leader') confirmReads(core)
      return
    case 'timeout-now':
      onTimeoutNow(core, message)
      return
    case 'read-request':
      onReadRequest(core, message)
      return
    case 'read-response':
      onReadResponse(core, message)
      return
    case 'read-refused':
      onReadRefused(core, message)
      return
    case 'propose':
      onPropose(core, message)
      return
    case 'propose-refused':
      onProposeRefused(core, message)
      return
    case 'propose-accepted':
      return
    case 'recovery-request':
      onRecoveryRequest(core, message)
      return
    case 'recovery-response':
      onRecoveryResponse(core, message)
      return
    default:
      unreachable(message)
  }
}

/**
 * A message of a lower term changes nothing, but who asks is told the present term: a leader that was deposed unseen
 * steps down, and so the node that is ahead of it (it may have campaigned alone) can be led again. The refusal of a
 * proposal stays true in any later term.
 */
function receiveFromThePast(core: Core, message: Message): void {
  switch (message.kind) {
    case 'append-request':
      core.sendWhenDurable(message.from, {
        kind: 'append-rejected',
        prevIndex: message.prevIndex,
        hintIndex: 0,
        hintTerm: 0,
      })
      return
    case 'heartbeat-request':
      core.sendNow(message.from, { kind: 'heartbeat-response', read: 0, isDiskFull: core.isDiskFull })
      return
    case 'pre-vote-request':
      onPreVoteRequest(core, message)
      return
    case 'vote-request':
      onVoteRequest(core, message)
      return
    case 'propose':
      onPropose(core, message)
      return
    case 'propose-refused':
      onProposeRefused(core, message)
      return
    case 'read-request':
      onReadRequest(core, message)
      return
    case 'pre-vote-response':
    case 'vote-response':
    case 'append-accepted':
    case 'append-rejected':
    case 'snapshot-installed':
    case 'heartbeat-response':
    case 'timeout-now':
    case 'read-response':
    case 'read-refused':
    case 'propose-accepted':
    case 'recovery-request':
    case 'recovery-response':
      return
    default:
      unreachable(message)
  }
}

/**
 * Members are heard. Others only as far as they may be members of a newer configuration, that this node has not got yet
 * (thesis 4.1): who leads its term or a later one, and a candidate whose log goes beyond this node's; and as far as they answer
 * the leader that is just removing them. Nobody else can make it change its term, and nobody becomes a member by speaking.
 */
function isHeard(core: Core, message: Message): boolean {
  if (message.from === core.id) return false
  const isCandidate = message.kind === 'pre-vote-request' || message.kind === 'vote-request'
  if (isCandidate && core.isRecovering) return false
  if (core.knows(message.from) || core.leader === message.from) return true
  if (message.kind === 'append-request' || message.kind === 'heartbeat-request') return message.term >= core.term
  if (message.kind === 'append-accepted' || message.kind === 'append-rejected') {
    return message.term === core.term && core.progress.has(message.from)
  }
  return isCandidate && !core.log.reaches(message.lastIndex, message.lastTerm)
}

/** A pre-vote speaks of a term that nobody has entered yet; all else comes from a node that is in its term. */
function raisesTerm(message: Message): boolean {
  if (message.kind === 'pre-vote-request') return false
  return !(message.kind === 'pre-vote-response' && message.granted)
}
